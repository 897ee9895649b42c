"""Apps that a server process of the tests serves; their model writes a word each 20 ms."""

import asyncio
from pathlib import Path

import teola as tl

llm = tl.LLM("fake:", replies={"long": "word " * 500, "": "one two three"}, token_s=0.02)


@tl.prompt(llm, max_tokens=1000)
def say(question: str) -> str:
    return f"Say {question}"


@tl.app
def ask(question: str) -> str:
    """Answers."""
    return say(question)


@tl.app
async def talk(messages: list[tl.Message]) -> str:
    """Goes on with a conversation."""
    chat = tl.Chat(llm, messages=messages[:-1])
    return await chat.ask(messages[-1].content)


@tl.app
async def wait(name: str, seconds: float = 30.0) -> str:
    """Does nothing for a while; where its name is a path, that file says how it ended."""
    how = "stopped"
    try:
        await asyncio.sleep(seconds)
        how = "waited"
    finally:
        if Path(name).is_absolute():
            Path(name).write_text(how)
    return f"{name} waited"


@tl.app
async def broken(name: str) -> str:
    """Fails."""
    raise RuntimeError(f"no database for {name}")


@tl.app
def both(question: str, files: list[str]) -> str:
    """Needs more than a text."""
    return say(question)
