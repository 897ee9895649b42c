"""The engine that calls Python functions."""

import asyncio
import contextlib
import contextvars
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from backends.base import Outcome, Request, Result
from backends.errors import (
    ConfigError,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
)
from backends.tools.factory import create
from backends.tools.python import PythonEngine


def call(fn: Any, *inputs: Any, kwargs: tuple[str, ...] = (), id: str = "0") -> Request:
    return Request(id * 32, "call", inputs, {"fn": fn, "kwargs": kwargs})


def run(*requests: Request, **options: Any) -> list[Outcome]:
    async def main() -> list[Outcome]:
        engine = PythonEngine(**options)
        await engine.start()
        try:
            parts = await asyncio.gather(*(engine.execute([request]) for request in requests))
            return [outcome for part in parts for outcome in part]
        finally:
            await engine.close()

    return asyncio.run(main())


def value(request: Request) -> Any:
    (outcome,) = run(request)
    assert isinstance(outcome, Result), outcome
    return outcome.outputs[0]


def show(*args: Any, **named: Any) -> Any:
    return args, named


async def show_async(*args: Any, **named: Any) -> Any:
    await asyncio.sleep(0)
    return args, named


@pytest.mark.parametrize("fn", [show, show_async])
def test_the_last_inputs_go_by_name(fn: Any) -> None:
    assert value(call(fn, 1, 2, 3, kwargs=("b", "c"))) == ((1,), {"b": 2, "c": 3})


def test_plain_functions_run_off_the_loop_and_async_ones_on_it() -> None:
    async def here() -> int:
        return threading.get_ident()

    assert value(call(here)) == threading.get_ident()
    assert value(call(threading.get_ident)) != threading.get_ident()


def test_plain_functions_run_at_the_same_time() -> None:
    meet = threading.Barrier(3, timeout=60)
    outcomes = run(*(call(meet.wait, id=str(i)) for i in range(3)))
    assert all(isinstance(outcome, Result) for outcome in outcomes)


def test_an_object_with_an_async_call_is_awaited() -> None:
    class Tool:
        async def __call__(self, x: int) -> int:
            return x + 1

    assert value(call(Tool(), 1)) == 2


def test_an_awaitable_that_a_plain_function_returns_is_awaited() -> None:
    assert value(call(lambda: show_async(1))) == ((1,), {})


def test_context_variables_reach_the_thread() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    assert value(call(variable.get)) == "set"


def raises(error: BaseException) -> None:
    raise error


async def raises_async(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("fn", [raises, raises_async])
@pytest.mark.parametrize("error", [ValueError("mine"), EngineError("nested"), TimeoutError()])
def test_what_the_function_raises_is_the_outcome(fn: Any, error: Exception) -> None:
    assert run(call(fn, error)) == [error]


def test_a_stop_iteration_is_an_outcome_too() -> None:
    (outcome,) = run(call(next, iter([])))
    assert isinstance(outcome, StopIteration)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_nothing_that_a_plain_function_raises_is_lost(error: BaseException) -> None:
    (outcome,) = run(call(raises, error))
    assert isinstance(outcome, EngineError)
    assert type(error).__name__ in str(outcome)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_nothing_that_an_async_function_raises_is_lost(error: BaseException) -> None:
    (outcome,) = run(call(raises_async, error))
    assert isinstance(outcome, EngineError)
    assert type(error).__name__ in str(outcome)


@pytest.mark.parametrize("fn", [raises, raises_async])
def test_a_tool_cannot_end_the_program(fn: Any) -> None:
    (outcome,) = run(call(fn, SystemExit(3)))
    assert isinstance(outcome, EngineError)
    assert "exit code 3" in str(outcome)


@pytest.mark.parametrize(
    "wrong",
    [call(None), call(show, 1, kwargs=("a", "b")), Request("0" * 32, "embed", (), {"fn": show})],
)
def test_a_wrong_request_is_rejected(wrong: Request) -> None:
    assert isinstance(run(wrong)[0], RequestRejected)


@pytest.mark.parametrize("is_async", [True, False])
def test_abort_ends_a_running_call(is_async: bool) -> None:
    async def main() -> Outcome:
        release, began = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        async def forever() -> None:
            began.set()
            await asyncio.Event().wait()

        def block() -> None:
            loop.call_soon_threadsafe(began.set)
            release.wait(60)

        engine = PythonEngine()
        await engine.start()
        running = asyncio.create_task(engine.execute([call(forever if is_async else block)]))
        await began.wait()
        engine.abort("unknown")
        engine.abort("0" * 32)
        (outcome,) = await running
        release.set()
        await engine.close()
        return outcome

    outcome = asyncio.run(main())
    assert isinstance(outcome, EngineError)
    assert "was aborted" in str(outcome)


def test_async_functions_need_no_thread() -> None:
    async def main() -> list[Outcome]:
        engine = PythonEngine(max_threads=1)
        await engine.start()
        met = asyncio.Event()

        async def wait() -> None:
            await met.wait()

        waiting = [asyncio.create_task(engine.execute([call(wait, id=str(i))])) for i in range(9)]
        (plain,) = await engine.execute([call(threading.get_ident, id="9")])
        met.set()
        outcomes = [outcome for task in waiting for outcome in await task]
        await engine.close()
        return [plain, *outcomes]

    assert all(isinstance(outcome, Result) for outcome in asyncio.run(main()))


def test_calls_beyond_the_threads_wait_for_one() -> None:
    most = running = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    outcomes = run(*(call(work, id=str(i)) for i in range(9)), max_threads=3, stall_s=30.0)
    assert all(isinstance(outcome, Result) for outcome in outcomes)
    assert most <= 3


def test_threads_that_wait_for_each_other_are_an_error_not_a_hang() -> None:
    both = threading.Barrier(3)

    def wait_for_the_others() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(60)

    async def main() -> list[Outcome]:
        engine = PythonEngine(max_threads=2, stall_s=0.1)
        await engine.start()
        tasks = [
            asyncio.create_task(engine.execute([call(wait_for_the_others, id=str(i))]))
            for i in range(3)
        ]
        (late,) = await tasks[2]
        both.abort()
        outcomes = [outcome for task in tasks[:2] for outcome in await task]
        (after,) = await engine.execute([call(show, 1, id="4")])
        await engine.close()
        return [late, *outcomes, after]

    late, *others = asyncio.run(main())
    assert isinstance(late, EngineOverloaded)
    assert "all 2 threads for tools are busy and none got done for 0.1 s" in str(late)
    assert all(isinstance(outcome, Result) for outcome in others)


def test_where_the_system_has_no_more_threads_calls_wait_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[threading.Thread] = []

    class Scarce(threading.Thread):
        def start(self) -> None:
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    monkeypatch.setattr("backends.tools.threads.Thread", Scarce)
    outcomes = run(*(call(time.sleep, 0.01, id=str(i)) for i in range(9)), stall_s=30.0)
    assert all(isinstance(outcome, Result) for outcome in outcomes)
    assert len(started) == 2


def test_an_aborted_function_keeps_its_own_thread_only() -> None:
    async def main() -> tuple[Outcome, Outcome]:
        release, began = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def block() -> None:
            loop.call_soon_threadsafe(began.set)
            release.wait(60)

        engine = PythonEngine(max_threads=2, stall_s=30.0)
        await engine.start()
        stuck = asyncio.create_task(engine.execute([call(block)]))
        await began.wait()
        engine.abort("0" * 32)
        (aborted,) = await stuck
        for _ in range(5):
            (other,) = await engine.execute([call(show, 1, id="1")])
        release.set()
        await engine.close()
        return aborted, other

    aborted, other = asyncio.run(main())
    assert isinstance(aborted, EngineError)
    assert isinstance(other, Result)


def test_a_function_that_never_ends_does_not_keep_the_program() -> None:
    program = """
import asyncio, threading
from backends.base import Request
from backends.tools.python import PythonEngine

async def main():
    began, loop = asyncio.Event(), asyncio.get_running_loop()
    def never_end():
        loop.call_soon_threadsafe(began.set)
        threading.Event().wait()
    engine = PythonEngine()
    await engine.start()
    request = Request("0" * 32, "call", (), {"fn": never_end})
    running = asyncio.create_task(engine.execute([request]))
    await began.wait()
    await engine.close()
    (outcome,) = await running
    print(type(outcome).__name__)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=300, capture_output=True, text=True
    )
    assert done.stdout == "EngineError\n"


def test_an_engine_that_is_not_started_says_so() -> None:
    with pytest.raises(EngineUnavailable, match="not started"):
        asyncio.run(PythonEngine().execute([call(show)]))


def test_the_factory_reads_the_number_of_slots() -> None:
    info = create("python", "python:", {"num_slots": 3, "max_threads": 2}).info
    assert (info.kind, info.num_slots, info.max_batch_items) == ("python", 3, 1)
    with pytest.raises(ConfigError, match="Known options: max_threads, num_slots, stall_s"):
        create("python", "python:", {"slots": 3})
    with pytest.raises(ConfigError, match="write 'python:'"):
        create("python", "python:x", {})
