"""Apps with effects, for a server process whose runs outlive it; EFFECTS says what happened."""

import asyncio
import os
from pathlib import Path

import teola as tl

EFFECTS = Path(os.environ.get("EFFECTS", os.devnull))


def note(line: str) -> None:
    with EFFECTS.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@tl.tool
async def send(text: str, seconds: float = 0.0) -> str:
    """Send a text, which takes a while."""
    note(f"begin {text}")
    await asyncio.sleep(seconds)
    note(f"end {text}")
    return f"sent {text}"


@tl.tool(reads=True)
async def rest(seconds: float) -> str:
    """Waits, until a file says that it need not."""
    EFFECTS.with_name("resting").touch()
    if not EFFECTS.with_name("quick").exists():
        await asyncio.sleep(seconds)
    return "rested"


@tl.app
async def twice(name: str) -> list[str]:
    """Sends two texts, with a long rest between them."""
    first = await tl.value(send(f"{name} 1"))
    await tl.value(rest(60.0))
    return [first, await tl.value(send(f"{name} 2"))]


@tl.app
async def slow(name: str) -> list[str | None]:
    """Is long at sending."""
    return [await tl.value(send(name, 60.0))]


@tl.app
async def asks(name: str) -> str:
    """Waits for a person."""
    sent = await tl.value(send(name))
    return sent if await tl.approve("Good?", sent) else "no"
