"""Apps that the tests serve, in a process of their own."""

import asyncio
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

import teola as tl

llm = tl.LLM("fake:", replies={"Capital of France": "Paris.", "slow": "one two three four"})
slow = tl.LLM("fake:", token_s=0.05, replies={"": " ".join(["word"] * 2000)})


class City(BaseModel):
    name: str
    people: int


@tl.prompt(llm)
def answer(question: str) -> str:
    return question


@tl.prompt(slow)
def write(topic: str) -> str:
    return topic


@tl.app
def ask(question: str, n: int = 3) -> str:
    """Answer a question in a word.

    Args:
        question: What to answer, in English.
    """
    return answer(f"{question} ({n})")


@tl.app
async def city(name: str) -> City:
    """Look a city up."""
    print("this goes to stderr")
    return City(name=name, people=len(name))


@tl.app
async def essay(topic: str, path: str) -> str:
    """Write at length; a run that is stopped says so in a file."""
    try:
        return await tl.value(write(topic))
    except asyncio.CancelledError:
        Path(path).write_text("stopped")
        raise


@tl.app
async def broken(n: int = Field(1, ge=1)) -> list[int]:
    """Fail always."""
    raise KeyError("lost")


@tl.app
async def mood(text: str) -> Literal["glad", "sad"]:
    """Say how a text feels."""
    return "sad" if "rain" in text else "glad"


clerk = tl.Agent("clerk", llm, description="Knows capitals.")


if __name__ == "__main__":
    address = ([*sys.argv, ""])[1] or None
    tl.mcp.serve(ask, city, essay, broken, mood, clerk, name="tests", http=address)
