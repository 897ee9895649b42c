"""What a thread tells event loops: one wake-up for all of it, in order."""

import asyncio
import threading
from typing import Any

from backends.llm.outbox import Outbox


def test_calls_reach_their_loop_in_order_with_one_wake_up() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), []
        wake_ups = 0
        call_soon = loop.call_soon_threadsafe

        def counting(*args: Any) -> Any:
            nonlocal wake_ups
            wake_ups += 1
            return call_soon(*args)

        loop.call_soon_threadsafe = counting  # type: ignore[method-assign, assignment]
        outbox = Outbox()

        def work() -> None:
            for number in range(5):
                outbox.call(loop, told.append, number)
            outbox.flush()
            outbox.flush()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        del loop.call_soon_threadsafe  # type: ignore[method-assign]
        await asyncio.sleep(0)
        assert told == [0, 1, 2, 3, 4]
        assert wake_ups == 1

    asyncio.run(main())


def test_a_call_that_fails_is_reported_and_harms_no_other() -> None:
    async def main() -> None:
        loop, told, reported = asyncio.get_running_loop(), [], []
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        outbox = Outbox()
        outbox.call(loop, lambda: 1 / 0)
        outbox.call(loop, told.append, "after")
        outbox.flush()
        await asyncio.sleep(0)
        assert told == ["after"]
        assert isinstance(reported[0], ZeroDivisionError)

    asyncio.run(main())


def test_a_closed_loop_is_passed_over() -> None:
    closed = asyncio.new_event_loop()
    closed.close()
    outbox = Outbox()
    told: list[str] = []

    async def main() -> None:
        outbox.call(closed, told.append, "nobody is there")
        outbox.call(asyncio.get_running_loop(), told.append, "somebody is")
        outbox.flush()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert told == ["somebody is"]
