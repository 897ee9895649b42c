"""Apps for services, on engines that tests replace."""

import asyncio
import threading
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

import teola as tl

llm = tl.LLM("fake:")
started: list[str] = []  # runs of `wait`
stopped: list[str] = []  # those that came to their end, whatever it was
unblock = threading.Event()  # ends runs of `block`


class Place(BaseModel):
    name: str
    size: Annotated[int, Field(ge=1)]


@dataclass
class Found:
    place: Place
    ratio: float


@tl.prompt(llm, max_tokens=64)
def say(question: str) -> str:
    return f"Q: {question}"


@tl.prompt(llm, max_tokens=64)
def shorten(text: str) -> str:
    return f"Shorten: {text}"


@tl.app
def ask(question: str, style: Literal["brief", "long"] = "brief") -> str:
    """Answers a question.

    Args:
        question: What is asked.
    """
    return say(question)


@tl.app
def twice(question: str) -> str:
    """Answers, and shortens the answer."""
    return shorten(say(question))


@tl.app
def measure(place: Place, tags: list[str], limit: int = 3) -> str:
    return say(f"{place} {tags}")


@tl.app
async def wait(name: str, seconds: float = 30.0) -> str:
    started.append(name)
    try:
        await asyncio.sleep(seconds)
    finally:
        stopped.append(name)
    return f"{name} waited"


@tl.app
async def block(seconds: float) -> str:
    unblock.wait(seconds)
    return "blocked"


@tl.app
async def fail(question: str) -> str:
    raise KeyError("a secret")


@tl.app
async def find(name: str) -> Found:
    return Found(Place(name=name, size=2), float("nan"))


@tl.app
async def talk(messages: Annotated[list[tl.Message], Field(min_length=1)]) -> str:
    """Goes on with a conversation."""
    chat = tl.Chat(llm, messages=messages[:-1])
    return await chat.ask(messages[-1].content, max_tokens=64)


@tl.app
async def history(messages: list[dict[str, Any]], limit: int = 3) -> list[dict[str, Any]]:
    return messages[:limit]


@tl.app
async def short(question: Annotated[str, Field(max_length=5)]) -> str:
    return question


@tl.app
async def steps(question: str) -> str:
    draft = await tl.value(say(question))
    return shorten(draft)


@tl.app
async def slow(question: str) -> str:
    await asyncio.sleep(1.5)
    raise ValueError("too late")


@tl.app
def optional(question: str = "what?", style: str = "brief") -> str:
    return say(f"{style} {question}")


class Level(Enum):
    LOW = "low"
    HIGH = "high"


@tl.app
async def many(
    when: date,
    level: Level,
    pair: tuple[int, float],
    places: dict[str, Place],
    flag: bool = False,
    limit: int | None = None,
    kinds: tuple[Literal["a", "b"], ...] = (),
) -> dict[str, Any]:
    """Takes much."""
    return {"when": when, "level": level, "pair": pair, "kinds": len(kinds)}
