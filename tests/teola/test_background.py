"""The loop on a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from teola.background import BackgroundLoop
from teola.event_streams import events_of


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop("test")
    yield loop
    loop.close()


def test_a_cancelled_coroutine_has_stopped_when_its_waiter_goes_on(
    background: BackgroundLoop,
) -> None:
    has_begun, stopped = threading.Event(), []

    async def work() -> None:
        has_begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append(threading.current_thread().name)

    async def main() -> None:
        task = asyncio.create_task(background.run_to_end(work()))
        await asyncio.to_thread(has_begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stopped == ["test"]

    asyncio.run(main())


def test_events_are_not_waited_for_on_the_loop_that_tells_them(background: BackgroundLoop) -> None:
    async def told(_: Any) -> None:
        """Nobody gets here."""

    async def main() -> None:
        next(events_of(told, background))

    with pytest.raises(RuntimeError, match="would wait for itself"):
        background.submit(main()).result(10)


def test_a_coroutine_that_is_cancelled_before_it_begins_hangs_nobody(
    background: BackgroundLoop,
) -> None:
    async def main() -> None:
        task = asyncio.create_task(background.run_to_end(asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)

    asyncio.run(main())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_coroutine_that_ends_the_program_ends_itself_alone(
    background: BackgroundLoop, error: type[BaseException]
) -> None:
    async def end() -> None:
        raise error

    other = background.submit(asyncio.sleep(0.1, "went on"))
    with pytest.raises(error):
        background.submit(end()).result(10)
    assert other.result(10) == "went on"
    assert background.is_alive


async def thread() -> threading.Thread:
    return threading.current_thread()


def test_a_closed_loop_ends_with_what_runs_on_it_and_a_later_coroutine_starts_another() -> None:
    background = BackgroundLoop("ends")
    first = background.wait(thread())
    late = background.submit(asyncio.sleep(0.1, "done"))
    background.close()
    first.join(20)
    assert (first.is_alive(), late.result()) == (False, "done")
    second = background.wait(thread())
    assert second is not first
    background.close(20)
    assert not second.is_alive()


def test_what_comes_before_a_closed_loop_has_ended_keeps_it() -> None:
    background = BackgroundLoop("kept")
    may_end = threading.Event()
    first = background.wait(thread())
    late = background.submit(asyncio.to_thread(may_end.wait, 20))
    background.close()
    assert background.wait(thread()) is first
    may_end.set()
    assert late.result(20)
    assert background.wait(thread()) is first
    background.close(20)
    assert not first.is_alive()


def test_no_coroutine_is_lost_when_loops_end_and_start_all_the_time() -> None:
    background = BackgroundLoop("often")
    done: list[int] = []

    def ask() -> None:
        done.extend(background.submit(asyncio.sleep(0, each)).result(20) for each in range(50))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for each in askers:
        each.start()
    while any(each.is_alive() for each in askers):
        background.close()
    assert sorted(done) == sorted([*range(50)] * 3)
    last = background.wait(thread())
    background.close(20)
    assert not last.is_alive()


def test_a_loop_of_which_something_is_needed_does_not_end() -> None:
    needed, asked = [True], threading.Event()

    def is_needed() -> bool:
        asked.set()
        return bool(needed)

    background = BackgroundLoop("needed", is_needed)
    first = background.wait(thread())
    background.close()
    assert asked.wait(20)
    assert background.wait(thread()) is first
    needed.clear()
    background.close(20)
    assert not first.is_alive()


def test_a_loop_that_cannot_start_leaves_nothing_and_starts_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    background = BackgroundLoop("late")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            background.submit(thread())
    assert background.wait(thread()).name == "late"
    background.close(20)
