"""The Engine protocol over a thread: outcomes, streams, aborts, cancellation, closing."""

import asyncio
import contextlib
import gc
import math
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from backends.base import Context, Engine, Request, Result
from backends.errors import (
    ConfigError,
    EngineError,
    EngineUnavailable,
    RequestAborted,
    RequestRejected,
)
from backends.llm.engine import LLMEngine
from backends.llm.factory import create
from backends.place import Place
from backends.policy.base import Policy

NUMBERS = count(1)


def request(op: str, *inputs: Any, emit: Any = None, **attrs: Any) -> Request:
    return Request(f"{next(NUMBERS):032x}", op, inputs, attrs, emit=emit)


@asynccontextmanager
async def running(tiny: Any, **options: Any) -> AsyncIterator[tuple[LLMEngine, Any]]:
    core = tiny.driver(stops=False, **options).core
    engine = LLMEngine("tiny", 8, lambda: core)
    await engine.start()
    try:
        yield engine, core
    finally:
        await engine.close()
        core.check_integrity()


async def result_of(engine: Engine, given: Request) -> Result:
    (outcome,) = await engine.execute([given])
    assert isinstance(outcome, Result), outcome
    return outcome


def test_prefill_and_decode_give_a_context_and_text(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, _):
            prefill = await result_of(engine, request("prefill", None, "abc"))
            (context,) = prefill.outputs
            assert isinstance(context, Context)
            decode = await result_of(engine, request("decode", context, max_tokens=5))
            assert isinstance(decode.outputs[0], str)
            assert decode.outputs[1].num_tokens == 8

    asyncio.run(main())


def test_the_engine_states_its_kind_and_limits(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, context_len=100) as (engine, _):
            assert engine.info.kind == "llm"
            assert engine.info.max_context_tokens == 100
            assert {"prefill", "fork", "stream", "abort"} <= engine.info.capabilities

    asyncio.run(main())


def test_a_bad_request_stands_in_its_place_among_good_ones(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, _):
            requests = [
                request("prefill", None, "a"),
                request("fly"),
                request("prefill", None, "b"),
            ]
            first, bad, last = await engine.execute(requests)
            assert isinstance(bad, RequestRejected)
            assert isinstance(first, Result)
            assert isinstance(last, Result)

    asyncio.run(main())


def test_pieces_arrive_on_the_loop_in_order_and_before_the_outcome(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, _):
            pieces: list[str] = []

            def emit(piece: str) -> None:
                assert threading.current_thread() is threading.main_thread()
                pieces.append(piece)

            context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
            decode = await result_of(engine, request("decode", context, max_tokens=30, emit=emit))
            assert "".join(pieces) == decode.outputs[0]
            assert len(pieces) > 1

    asyncio.run(main())


def test_an_aborted_request_tells_what_it_computed_and_frees_its_pages(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, core):
            started = asyncio.Event()
            context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
            long = request("decode", context, max_tokens=450, emit=lambda _: started.set())
            running_task = asyncio.create_task(engine.execute([long]))
            await started.wait()
            engine.abort(long.id)
            (outcome,) = await running_task
            assert isinstance(outcome, RequestAborted)
            assert 0 < outcome.usage.decode_tokens < 450
            assert "aborted" in str(outcome)
            engine.abort("unknown")
            await result_of(engine, request("prefill", context, "d"))
            assert not core.has_work

    asyncio.run(main())


def test_cancelling_the_caller_aborts_its_requests(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, core):
            started = asyncio.Event()
            context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
            long = request("decode", context, max_tokens=450, emit=lambda _: started.set())
            task = asyncio.create_task(engine.execute([long]))
            await started.wait()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await result_of(engine, request("prefill", None, "x"))
            assert not core.has_work

    asyncio.run(main())


def test_closing_fails_what_runs_and_joins_the_thread(tiny: Any) -> None:
    async def main() -> None:
        before = threading.active_count()
        async with running(tiny) as (engine, _):
            context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
            task = asyncio.create_task(engine.execute([request("decode", context, max_tokens=450)]))
            await asyncio.sleep(0)
            await engine.close()
            (outcome,) = await task
            assert isinstance(outcome, EngineUnavailable)
            (late,) = await engine.execute([request("prefill", None, "a")])
            assert isinstance(late, EngineUnavailable)
            with pytest.raises(EngineUnavailable, match="closed"):
                await engine.start()
        assert threading.active_count() <= before + 1  # the loop's own executor

    asyncio.run(main())


def test_contexts_may_be_released_from_any_thread(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, core):
            for _ in range(5):
                context = (await result_of(engine, request("prefill", None, "abc" * 9))).outputs[0]
                thread = threading.Thread(target=context.release)
                thread.start()
                thread.join()
            del context
            gc.collect()
            await result_of(engine, request("prefill", None, "x"))
            core.check_integrity()

    asyncio.run(main())


def test_a_bug_in_the_core_reaches_every_waiting_caller(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, core):
            context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
            step = core.step
            core.step = lambda: 1 / 0
            (outcome,) = await engine.execute([request("decode", context)])
            assert isinstance(outcome, EngineError)
            assert "ZeroDivisionError" in str(outcome)
            core.step = step
            await result_of(engine, request("decode", context, max_tokens=3))

    asyncio.run(main())


def test_many_callers_share_steps(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, core):
            context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
            decodes = [
                engine.execute([request("decode", context, max_tokens=30)]) for _ in range(6)
            ]
            texts = {outcome.outputs[0] for (outcome,) in await asyncio.gather(*decodes)}
            assert len(texts) == 1
            assert core.num_steps < 6 * 30

    asyncio.run(main())


def test_the_factory_makes_an_engine_from_a_folder(tiny_folder: Callable[..., Path]) -> None:
    async def main() -> None:
        engine = create("llm", f"local:{tiny_folder()}", {"kv_tokens": 256, "dtype": "bfloat16"})
        assert engine.info.max_context_tokens is None  # nothing is loaded yet
        await engine.start()
        await engine.start()
        context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
        await result_of(engine, request("decode", context, max_tokens=3))
        assert engine.info.max_context_tokens == 257
        await engine.close()
        await engine.close()

    asyncio.run(main())


NEVER_CLOSED = """
import asyncio, sys, threading, time
sys.path.insert(0, {root!r})
from backends.base import Request
from backends.llm.factory import create
engine = create("llm", "local:{folder}", {{"kv_tokens": 4096, "device": "cpu"}})
async def main():
    await engine.start()
    (prefill,) = await engine.execute([Request("0" * 32, "prefill", (None, "abc"), {{}})])
    attrs = {{"max_tokens": 3000, "temperature": 0.9, "ignore_eos": True}}
    decodes = [Request(f"{{i:032x}}", "decode", (prefill.outputs[0],), attrs) for i in range(4)]
    await engine.execute(decodes)
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(main(), loop)
while not (engine._core and engine._core.num_steps > 20):
    time.sleep(0.01)
"""


def test_a_process_may_end_with_an_engine_that_runs(tiny_folder: Callable[..., Path]) -> None:
    root = str(Path(__file__).parents[3])
    script = NEVER_CLOSED.format(root=root, folder=tiny_folder(context_len=4096))
    for _ in range(3):
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr


def test_the_factory_names_wrong_options_and_kinds(tiny_folder: Callable[..., Path]) -> None:
    url = f"local:{tiny_folder()}"
    with pytest.raises(ConfigError, match=r"'treads'.*token_budget"):
        create("llm", url, {"treads": 4})
    with pytest.raises(ConfigError, match="page_size"):
        create("llm", url, {"page_size": 0})
    with pytest.raises(ConfigError, match="kind"):
        create("store", url, {})
    with pytest.raises(ConfigError):
        create("llm", "local:/no/such/model.gguf", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantum_ms": 5}, "'quantum_ms' changes nothing without policy='mlfq'"),
        ({"guesses": 8}, "'guesses' changes nothing without speculation="),
        ({"kv_tier_format": "int8"}, "'kv_tier_format' changes nothing without host_kv_tokens"),
        ({"disk_kv_bytes": 5, "host_kv_tokens": 64}, "'disk_kv_bytes' changes nothing without"),
        ({"threads": 100_000}, "'threads': .* less than or equal to 1024"),
    ],
)
def test_options_that_nothing_would_read_are_refused(
    tiny_folder: Callable[..., Path], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        create("llm", f"local:{tiny_folder()}", options)


def test_a_model_that_is_not_fetched_says_how_to_fetch_it() -> None:
    engine = create("llm", "hf:nobody/nothing-here", {})
    with pytest.raises(EngineUnavailable, match="teola models fetch hf:nobody/nothing-here"):
        asyncio.run(engine.start())


def test_pins_are_set_between_steps_and_their_refusals_reach_the_caller(tiny: Any) -> None:
    async def main() -> None:
        async with running(tiny, kv_tokens=128, page_size=8, host_kv_tokens=256) as (engine, _):
            context = (await result_of(engine, request("prefill", None, "abc" * 9))).outputs[0]
            assert await engine.pin(context) == 26
            assert engine.cache_stats().pinned_pages == 4
            await result_of(engine, request("decode", context, max_tokens=3))
            context.release()
            with pytest.raises(RequestRejected, match="released"):
                await engine.pin(context)

    asyncio.run(main())


def test_a_session_outlives_its_engine(tiny: Any, tmp_path: Path) -> None:
    async def ask() -> Result:
        async with running(tiny, page_size=8, disk_kv=str(tmp_path)) as (engine, _):
            prefill = await result_of(engine, request("prefill", None, "abc" * 30))
            decode = request("decode", prefill.outputs[0], max_tokens=10)
            return Result((await result_of(engine, decode)).outputs[:1], prefill.usage)

    first, second = asyncio.run(ask()), asyncio.run(ask())
    assert second.outputs == first.outputs
    assert (first.usage.cached_tokens, second.usage.cached_tokens) == (0, 88)


def test_pins_before_the_start_are_refused(tiny: Any) -> None:
    engine = LLMEngine("tiny", 8, lambda: tiny.driver().core)
    with pytest.raises(EngineUnavailable, match="call start"):
        asyncio.run(engine.pin(object()))  # type: ignore[arg-type]


def raising(*_: Any) -> Any:
    raise PermissionError("the disk is read-only")


def test_a_cache_that_cannot_be_emptied_stops_nobody(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, core):
            with monkeypatch.context() as patch:
                patch.setattr(core, "flush", raising)
                engine.flush_cache()
                result = await result_of(engine, request("prefill", None, "abc"))
            assert result.outputs[0].num_tokens == 3
            engine.flush_cache()  # the thread is still there, and now it can
            again = await result_of(engine, request("prefill", None, "abc"))
            assert again.usage.cached_tokens == 0

    asyncio.run(main())


def of_raising() -> Any:
    raise IndexError("a policy's own mistake")


@pytest.mark.parametrize(
    "policy",
    [
        Policy("mine", rank=lambda t: t.order, flow=lambda t: t.place.tenant.split("-")[1]),
        Policy("mine", rank=lambda t: t.order, account=of_raising),
    ],
)
def test_a_policy_that_raises_ends_no_thread(tiny: Any, policy: Policy) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, _):
            engine.order_by(policy)
            for place in (Place("query", 1.0, tenant="acme-1"), Place("other", 1.0, tenant="x")):
                given = replace(request("prefill", None, "abc"), place=place)
                assert (await result_of(engine, given)).outputs[0].num_tokens == 3

    asyncio.run(main())


@pytest.mark.parametrize("after_s", [1e12, math.inf, math.nan, -1.0])
def test_any_time_may_be_expected(tiny: Any, after_s: float) -> None:
    async def main() -> None:
        async with running(tiny, host_kv_tokens=64) as (engine, _):
            context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
            engine.expect([(context, after_s)])
            again = await result_of(engine, request("decode", context, max_tokens=2))
            assert again.outputs

    asyncio.run(main())


def test_a_core_that_can_neither_step_nor_abort_still_answers(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, core):
            with monkeypatch.context() as patch:
                patch.setattr(core, "step", raising)
                patch.setattr(core, "abort", raising)
                given = request("prefill", None, "abc")
                (outcome,) = await asyncio.wait_for(engine.execute([given]), 60)
                assert isinstance(outcome, EngineError)
            core.abort(given.id)

    asyncio.run(main())


def test_when_the_thread_ends_all_are_told_at_once(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running(tiny) as (engine, core):
            context = (await result_of(engine, request("prefill", None, "abc"))).outputs[0]
            with monkeypatch.context() as patch:
                patch.setattr(type(core), "has_work", property(raising))
                long = request("decode", context, max_tokens=200)
                (outcome,) = await asyncio.wait_for(engine.execute([long]), 60)
                assert isinstance(outcome, EngineUnavailable)
                (later,) = await asyncio.wait_for(
                    engine.execute([request("prefill", None, "y")]), 60
                )
                assert isinstance(later, EngineUnavailable)
            core.abort(long.id)

    asyncio.run(main())
