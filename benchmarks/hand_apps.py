"""The RAG and agent samples written by hand with asyncio on teola's own engines.

What a good engineer would write without a graph: documents are indexed once and kept, independent
calls run side by side, lists go to the embedder in one batch, the engine's prefix cache is on, and
each prompt goes with its decode in one request. Prompts are cut into parts as teola cuts them, so
that the tokens, and with them the answers, are the same.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from backends.base import Request, Result, Turn, Usage, total
from backends.documents import Doc, Index
from backends.tools.load import load
from backends.tools.split import split
from frontend_dsl.components import Component
from frontend_dsl.contextual import SITUATE, surroundings
from frontend_dsl.contextual import _in_context as in_context
from frontend_dsl.synthesis import ANSWER
from runtime.unique_items import unique_items
from samples import advanced_rag, contextual_retrieval, doc_qa, search_agent
from teola.runner import default_runner

_ids = iter(range(1 << 60))

Ask = Callable[..., Coroutine[Any, Any, str]]


class Engines:
    """Calls engines directly. `salt` keeps the KV apart from that of others; `usages` is kept."""

    def __init__(self, salt: str) -> None:
        self._salt = salt
        self.usages: list[Usage] = []
        self.num_texts = 0  # embedded or compared

    @property
    def usage(self) -> Usage:
        return total(self.usages)

    async def call(self, component: Component, op: str, *inputs: Any, **attrs: Any) -> Any:
        """The first output."""
        engine = default_runner()._runtime.scheduler(component.kind, component.spec).engine
        await engine.start()
        request = Request(f"{next(_ids):032x}", op, inputs, attrs)
        (outcome,) = await engine.execute([request])
        if not isinstance(outcome, Result):
            raise outcome
        self.usages.append(outcome.usage)
        self.num_texts += outcome.usage.num_items if op in ("embed", "rerank") else 0
        for context in outcome.outputs[1:]:
            context.release()
        return outcome.outputs[0]

    async def write(self, llm: Component, system: str | None, *parts: str, **attrs: Any) -> str:
        """The answer to one prompt."""
        head = [Turn("system"), system] if system is not None else []
        prompt = [*head, Turn("user"), *parts, Turn("assistant")]
        attrs["cache_salt"] = self._salt
        return str(await self.call(llm, "decode", None, *prompt, **attrs))

    async def index(self, store: Any, docs: Sequence[Doc]) -> Index:
        vectors = await self.call(store.embedder, "embed", list(docs))
        return await self.call(store, "ingest", list(docs), vectors)  # type: ignore[no-any-return]

    async def search(self, store: Any, index: Index, query: str, vector: Any, **attrs: Any) -> Any:
        return await self.call(store, "search", index, query, vector, **attrs)


class Once:
    """Makes something when it is first asked for; who comes meanwhile waits for the same."""

    def __init__(self) -> None:
        self._made: dict[Any, asyncio.Task[Any]] = {}

    async def get(self, key: Any, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if key not in self._made:
            self._made[key] = asyncio.create_task(make())
        return await self._made[key]


async def _passages(store: Any, files: Sequence[str], size: int, overlap: int) -> list[Doc]:
    counted_by = store.embedder.spec.url  # as teola's own split for an index does

    def read() -> list[Doc]:
        return split(load(list(files)), chunk_tokens=size, overlap=overlap, tokenizer=counted_by)

    return await asyncio.to_thread(read)


def _numbered(docs: Sequence[Doc]) -> str:
    return "\n".join(f"[{i}] {doc.text}" for i, doc in enumerate(docs, start=1))


async def ask_doc_qa(engines: Engines, once: Once, question: str, files: list[str]) -> str:
    app = doc_qa

    async def make() -> Index:
        return await engines.index(app.store, await _passages(app.store, files, 200, 30))

    index, vector = await asyncio.gather(
        once.get(tuple(files), make), engines.call(app.store.embedder, "embed", question)
    )
    found = await engines.search(app.store, index, question, vector, k=2, mode="vector")
    parts = (_numbered(found), "\n\nQuestion:", f" {question}")
    return await engines.write(app.llm, app.answer.system, *parts, max_tokens=48, stop=["\n"])


async def ask_advanced_rag(engines: Engines, once: Once, question: str, files: list[str]) -> str:
    app = advanced_rag

    async def make() -> Index:
        return await engines.index(app.store, await _passages(app.store, files, 200, 30))

    async def expand() -> list[str]:
        prompt = ("Write three short search queries, in other words, for:", f" {question}")
        schema = app.expand._form.held_to["schema"]
        text = await engines.write(app.llm, None, *prompt, max_tokens=128, schema=schema)
        return app.Queries.model_validate_json(text).queries

    async def search(index: Index, query: str, vector: Any) -> list[Doc]:
        found = await engines.search(app.store, index, query, vector, k=8, mode="vector")
        return list(found)

    index, queries = await asyncio.gather(once.get(tuple(files), make), expand())
    vectors = await engines.call(app.store.embedder, "embed", queries)
    lists = await asyncio.gather(
        *(search(index, q, v) for q, v in zip(queries, vectors, strict=True))
    )
    docs = unique_items([doc for found in lists for doc in found])
    best = await engines.call(app.reranker, "rerank", question, docs, k=2)
    parts = (_numbered(best), "\n\nQuestion:", f" {question}")
    return await engines.write(app.llm, app.answer.system, *parts, max_tokens=48, stop=["\n"])


async def ask_contextual(engines: Engines, once: Once, question: str, files: list[str]) -> str:
    app = contextual_retrieval

    async def situate(place: Any) -> Doc:
        parts = ("Document:", f" {place.title}", "\n\n", place.around, "\n\nPassage:\n")
        context = await engines.write(
            app.llm, SITUATE, *parts, place.chunk.text, max_tokens=20, stop=["\n"]
        )
        return in_context(place.chunk, context)

    async def make() -> Index:
        chunks = surroundings(await _passages(app.store, files, 200, 20), neighbours=1)
        return await engines.index(app.store, await asyncio.gather(*map(situate, chunks)))

    index, vector = await asyncio.gather(
        once.get(tuple(files), make), engines.call(app.store.embedder, "embed", question)
    )
    found = await engines.search(app.store, index, question, vector, k=8, mode="hybrid")
    best = await engines.call(app.reranker, "rerank", question, found, k=2)
    passages = "\n\n".join(doc.text for doc in best)
    parts = (passages, "\n\nQuestion:", f" {question}")
    return await engines.write(app.llm, ANSWER, *parts, max_tokens=48, stop=["\n"])


async def ask_agent(engines: Engines, once: Once, question: str) -> str:  # noqa: ARG001
    app = search_agent

    async def judge() -> bool:
        head, _, tail = app.judge._function("\0").partition("\0")
        parts = (head.removesuffix(" "), f" {question}", tail)
        schema = app.judge._form.held_to["schema"]
        text = await engines.write(app.llm, app.judge.system, *parts, max_tokens=8, schema=schema)
        return text == '"fact"'

    async def words() -> str:
        return await engines.write(
            app.llm, app.search_words.system, question, max_tokens=16, stop=["\n"]
        )

    is_fact, written = await asyncio.gather(judge(), words())
    if not is_fact:
        return await engines.write(app.llm, app.chat.system, question, max_tokens=32, stop=["\n"])
    found = await asyncio.to_thread(lambda: app.web(f"{question} {written}", k=2))
    passages = "\n\n".join(doc.text for doc in found)
    parts = (passages, "\n\nQuestion:", f" {question}")
    return await engines.write(app.llm, ANSWER, *parts, max_tokens=32, stop=["\n"])


BY_HAND: Mapping[str, Ask] = {
    "doc_qa": ask_doc_qa,
    "advanced_rag": ask_advanced_rag,
    "contextual_retrieval": ask_contextual,
    "search_agent": ask_agent,
}


class HandSession:
    """One user's session with an app written by hand: what was indexed stays."""

    def __init__(self, app: str, salt: str) -> None:
        self._ask = BY_HAND[app]
        self._once = Once()
        self.engines = Engines(salt)

    def ask(self, **arguments: Any) -> str:
        """The answer."""
        running = self._ask(self.engines, self._once, **arguments)
        return str(default_runner()._background.wait(running))
