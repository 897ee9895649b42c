"""The sample apps as a good engineer writes them with asyncio and the openai client.

Independent calls run side by side, lists go to the embedder in large requests, and prompts begin
with what they share, so that the server's prefix cache finds it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from backends.documents import Doc, Index
from benchmarks.remote import prompts
from benchmarks.remote.clients import Clients
from benchmarks.remote.prompts import SYSTEMS
from frontend_dsl.contextual import _in_context as in_context
from frontend_dsl.contextual import surroundings
from runtime.unique_items import unique_items
from samples import search_agent

Ask = Callable[..., Awaitable[str]]


async def naive_rag(clients: Clients, question: str, files: Sequence[str]) -> str:
    async def index() -> Index:
        return await clients.index(await clients.passages(files, 256, 30))

    async def read(doc: Doc) -> str:
        prompt = prompts.read(question, [doc])
        return await clients.write(SYSTEMS["read"], prompt, max_tokens=48)

    made, vectors = await asyncio.gather(index(), clients.embed([question]))
    found = await clients.search(made, question, vectors[0], k=3, mode="vector")
    answers = await asyncio.gather(*map(read, found))
    return await clients.write(SYSTEMS["merge"], prompts.merge(question, answers), max_tokens=48)


async def advanced_rag(clients: Clients, question: str, files: Sequence[str]) -> str:
    async def index() -> Index:
        return await clients.index(await clients.passages(files, 256, 30))

    async def expand() -> list[str]:
        prompt = prompts.expand(question)
        text = await clients.write(None, prompt, prompts.QUERIES, max_tokens=128)
        return list(json.loads(text)["queries"])

    made, queries = await asyncio.gather(index(), expand())
    vectors = await clients.embed(queries)
    lists = await asyncio.gather(
        *(
            clients.search(made, query, vector, k=16, mode="vector")
            for query, vector in zip(queries, vectors, strict=True)
        )
    )
    docs: list[Doc] = unique_items([doc for found in lists for doc in found])
    first, *others = await clients.rerank(question, docs, 3)
    answer = await clients.write(SYSTEMS["read"], prompts.read(question, [first]), max_tokens=48)
    for doc in others:
        prompt = prompts.improve(question, doc, answer)
        answer = await clients.write(SYSTEMS["improve"], prompt, max_tokens=48)
    return answer


async def contextual_retrieval(
    clients: Clients, question: str, files: Sequence[str], k: int = 2
) -> str:
    async def situate(place: Any) -> Doc:
        prompt = prompts.situate(place)
        context = await clients.write(SYSTEMS["situate"], prompt, max_tokens=20, stop=["\n"])
        return in_context._function(place.chunk, context)

    async def index() -> Index:
        chunks = await clients.passages(files, 200, 20)
        places = surroundings._function(chunks, neighbours=1)
        return await clients.index(await asyncio.gather(*map(situate, places)))

    made, vectors = await asyncio.gather(index(), clients.embed([question]))
    found = await clients.search(made, question, vectors[0], k=8, mode="hybrid")
    best = await clients.rerank(question, found, k)
    prompt = prompts.read(question, best)
    return await clients.write(SYSTEMS["read"], prompt, max_tokens=48, stop=["\n"])


async def agent(clients: Clients, question: str, k: int = 2) -> str:
    async def is_fact() -> bool:
        prompt = prompts.kind(question)
        kind = await clients.write(SYSTEMS["judge"], prompt, prompts.KIND, max_tokens=8)
        return kind == '"fact"'

    async def words() -> str:
        return await clients.write(SYSTEMS["search_words"], question, max_tokens=16, stop=["\n"])

    fact, written = await asyncio.gather(is_fact(), words())
    if not fact:
        return await clients.write(SYSTEMS["chat"], question, max_tokens=32, stop=["\n"])
    found = await asyncio.to_thread(lambda: search_agent.web(f"{question} {written}", k=k))
    prompt = prompts.read(question, found)
    return await clients.write(SYSTEMS["read"], prompt, max_tokens=32, stop=["\n"])


async def map_reduce(clients: Clients, files: Sequence[str]) -> str:
    parts = await clients.passages(files, 512, 0)
    summaries = await asyncio.gather(
        *(
            clients.write(SYSTEMS["summarize"], prompts.summarize(part.text), max_tokens=24)
            for part in parts
        )
    )
    return await clients.write(
        SYSTEMS["merge_summaries"], prompts.merge_summaries(summaries), max_tokens=48
    )


async def judge(clients: Clients, files: Sequence[str]) -> str:
    text = await asyncio.to_thread(prompts.article, files)

    async def assess(point: str) -> str:
        prompt = prompts.assess(text, point)
        return await clients.write(SYSTEMS["assess"], prompt, max_tokens=32, stop=["\n"])

    notes = await asyncio.gather(*map(assess, prompts.POINTS))
    grade = await clients.write(SYSTEMS["grade"], prompts.grade(notes), prompts.GRADE, max_tokens=8)
    return str(json.loads(grade))


APPS: Mapping[str, Ask] = {
    "advanced_rag": advanced_rag,
    "naive_rag": naive_rag,
    "search_agent": agent,
    "map_reduce_summary": map_reduce,
    "contextual_retrieval": contextual_retrieval,
    "judge": judge,
}
