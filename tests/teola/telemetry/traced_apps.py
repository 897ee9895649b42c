"""Apps for spans, on engines that need no model."""

import asyncio
import threading

import teola as tl

llm = tl.LLM("fake:scripted")
store = tl.Store("local:", embedder=tl.Embedder("fake:"))
hanging = threading.Event()  # `hang` has begun
SECRET = "a password of the user"


@tl.prompt(llm, max_tokens=16, temperature=0.5)
def say(question: str) -> str:
    return f"Q: {question}"


@tl.prompt(llm, max_tokens=16)
def shorten(text: str) -> str:
    return f"Shorten: {text}"


@tl.tool
def shout(text: str) -> str:
    return text.upper()


@tl.tool
def refuse(text: str) -> str:
    raise ValueError(f"{SECRET}: {text}")


@tl.tool
async def hang(text: str) -> str:
    hanging.set()
    await asyncio.sleep(60)
    return text


@tl.app
def chain(question: str) -> str:
    return shorten(shout(say(question)))


@tl.app
def each(questions: list[str]) -> list[str]:
    return tl.map(say, questions)


@tl.app
def find(question: str) -> str:
    index = store.index([tl.Doc("tea is hot"), tl.Doc("ice is cold")])
    return say(tl.join(index.search(question, k=1)))


@tl.app
def fails(question: str) -> str:
    return refuse(say(question))


@tl.app
def hangs(question: str) -> str:
    return hang(say(question))


@tl.app
async def by_turns(question: str) -> str:
    first = await tl.value(say(question))
    return await tl.value(shorten(first))


@tl.app
def around(question: str) -> str:
    return shout(by_turns(question))


clerk = tl.Agent("clerk", llm, instructions="Be brief.")
crier = tl.Agent("crier", llm, tools=[shout])
