"""What users write: no error under mypy --strict and pyright's strict mode, with these types."""

from __future__ import annotations

from typing import Any, Literal, assert_type

from pydantic import BaseModel

import teola as tl

llm = tl.LLM("fake:")
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))
rerank = tl.Reranker("fake:")


class Queries(BaseModel):
    queries: list[str]


@tl.prompt(llm, out=Queries, temperature=0.3)
def expand(question: str, n: int) -> str:
    return f"Write {n} queries for {question}"


@tl.prompt(llm, out=Literal["yes", "no"])
def judge(text: str) -> str:
    return f"Judge {text}"


@tl.prompt(llm)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs, '[{i}] {text}')}\nQuestion: {question}"


@tl.tool(pure=True)
def count(text: str) -> int:
    return len(text)


@tl.tool
async def fetch(url: str) -> str:
    return url


@tl.app
def rag(question: str, n: int = 3, k: int = 5) -> str:
    queries = expand(question, n).queries
    hits = tl.map(lambda q: store.search(q, k=20), queries)
    assert_type(queries, list[str])
    assert_type(hits, list[list[tl.Doc]])
    assert_type(count(question), int)
    assert_type(fetch(question), str)
    return answer(question, rerank(question, tl.flatten(hits), k=k))


@tl.app(timeout_s=3.0)
async def topics(topic: str) -> list[str]:
    found = await tl.value(expand(topic, 2))
    assert_type(found, Queries)
    return found.queries


writer = tl.Agent("writer", llm, instructions="Be brief.", temperature=0.3)
planner = tl.Agent("planner", llm, out=Queries, tools=[count, fetch, rag, writer], max_turns=3)
chooser = tl.Agent("chooser", llm, out=Literal["a", "b"], memory=tl.Window(3))


@tl.app
def agents(task: str) -> list[str]:
    assert_type(planner(task, draft=writer(task)), Queries)
    assert_type(chooser(task), Any)
    assert_type(tl.map(writer, [task]), list[str])
    return planner(task).queries


def agree(question: str, subject: object) -> bool:
    return question != str(subject)


@tl.app
async def results(task: str) -> bool:
    result = await planner.run(task)
    assert_type(result, tl.AgentResult[Queries])
    assert_type(result.output.queries, list[str])
    return await tl.approve("Publish?", result.output)


@tl.app
async def overview(topics_of: str) -> str:
    found = await tl.value(topics(topics_of))
    assert_type(found, list[str])
    return ", ".join(found)


clerk = tl.Agent("clerk", llm, out=Queries, tools=[count, fetch, rag])


@tl.program(llm)
def chat(s: tl.State, question: str) -> str:
    s += tl.user(question)
    s += tl.assistant(tl.gen("answer", max_tokens=8))
    return s["answer"]


class Bot:
    @tl.app
    def hello(self, name: str) -> str:
        return answer(name, [])


async def run_all() -> None:
    assert_type(rag("x"), str)
    assert_type(topics("x"), list[str])
    assert_type(await rag.arun("x", n=2), str)
    assert_type(await topics.arun("x"), list[str])
    assert_type(rag.batch([{"question": "x"}]), list[str | Exception])
    assert_type(rag.using(optimize=False)("x"), str)
    assert_type(Bot().hello("x"), str)
    assert_type(clerk("x"), Queries)
    assert_type(chat("x"), str)
    assert_type(await writer.arun("x"), str)
    assert_type(planner.using(timeout_s=3.0, approve=agree)("x"), Queries)
    assert_type((await writer.run("x")).usage.decode_tokens, int)
    async for event in rag.astream("x"):
        assert_type(event.kind, str)


with tl.mcp.tools("command", include=["search"]) as tools:
    assert_type(tools[0], tl.mcp.McpTool)
    assert_type(tools["search"].parameters, dict[str, Any])


@tl.app
def with_tool(question: str) -> str:
    found: str = tools["search"](question)
    return found


with tl.fake(llm, {"capital": "Paris", "": [Queries(queries=[]), "x"]}) as faked:
    assert_type(faked.prompts, list[str])
    assert_type(faked.calls[0].messages, list[tuple[str, str]])
with tl.fake(rag), tl.fake(replies=lambda prompt: prompt.upper()), tl.deny_network(loopback=False):
    rag("x")

rag(question=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
rag("x", speed=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
judge(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
