"""A client that goes away while its answer is being made."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx


def leave_when(url: str, path: str, body: Any, is_so: Callable[[], bool]) -> None:
    """Ask, and go away without the answer as soon as it is so."""

    async def main() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            asking = asyncio.create_task(http.post(path, json=body))
            while not await asyncio.to_thread(is_so):
                assert not asking.done(), asking.result().text
            asking.cancel()
            await asyncio.wait([asking])

    asyncio.run(main())
