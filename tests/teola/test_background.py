"""The loop on a thread of its own."""

import asyncio
import threading
from typing import Any

import pytest

from teola.background import BackgroundLoop
from teola.event_streams import events_of


def test_a_cancelled_coroutine_has_stopped_when_its_waiter_goes_on() -> None:
    background = BackgroundLoop("test")
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


def test_events_are_not_waited_for_on_the_loop_that_tells_them() -> None:
    background = BackgroundLoop("test")

    async def told(_: Any) -> None:
        """Nobody gets here."""

    async def main() -> None:
        next(events_of(told, background))

    with pytest.raises(RuntimeError, match="would wait for itself"):
        background.submit(main()).result(10)


def test_a_coroutine_that_is_cancelled_before_it_begins_hangs_nobody() -> None:
    background = BackgroundLoop("test")

    async def main() -> None:
        task = asyncio.create_task(background.run_to_end(asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)

    asyncio.run(main())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_coroutine_that_ends_the_program_ends_itself_alone(error: type[BaseException]) -> None:
    background = BackgroundLoop("test")

    async def end() -> None:
        raise error

    other = background.submit(asyncio.sleep(0.1, "went on"))
    with pytest.raises(error):
        background.submit(end()).result(10)
    assert other.result(10) == "went on"
    assert background.is_alive


def test_a_closed_loop_ends_with_what_runs_on_it_and_a_later_coroutine_starts_another() -> None:
    background = BackgroundLoop("ends")

    async def thread() -> threading.Thread:
        return threading.current_thread()

    async def slow() -> str:
        await asyncio.sleep(0.3)
        return "done"

    first = background.wait(thread())
    late = background.submit(slow())
    background.close()
    second = background.wait(thread())
    assert late.result() == "done"
    first.join(5)
    assert not first.is_alive()
    assert second.is_alive()
    background.close()
    second.join(5)
    assert not second.is_alive()
