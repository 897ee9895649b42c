"""A few requests a turn of the event loop, in order."""

import asyncio

from teola.serving.turnstile import Turnstile


def test_a_few_begin_in_each_turn_and_others_have_turns_in_between() -> None:
    async def main() -> list[str]:
        turnstile, seen = Turnstile(per_turn=2), []

        async def request(number: int) -> None:
            await turnstile.enter()
            seen.append(str(number))

        async def others() -> None:
            for _ in range(8):
                await asyncio.sleep(0)
                seen.append("-")

        requests = [asyncio.create_task(request(number)) for number in range(6)]
        running = asyncio.create_task(others())
        await asyncio.sleep(0)
        requests[3].cancel()
        await asyncio.gather(running, *requests, return_exceptions=True)
        return seen

    seen = "".join(asyncio.run(main()))
    assert seen.replace("-", "") == "01245"
    assert max(map(len, seen.split("-"))) == 2


def test_a_request_alone_does_not_wait() -> None:
    async def main() -> None:
        turnstile = Turnstile()
        for _ in range(3):
            entering = turnstile.enter()
            try:
                entering.send(None)
            except StopIteration:
                pass
            else:
                raise AssertionError("it waited")
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(main())
