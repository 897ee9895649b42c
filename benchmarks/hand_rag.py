"""The advanced RAG of the samples, parallelised by hand with asyncio on teola's own engines.

What a good engineer would write without a graph: indexing beside query expansion, all searches at
once and their query embeddings in one batch, the engine's prefix cache on, and no work twice.
"""

import asyncio
from typing import Any

from backends.base import Request, Result, Turn
from runtime.unique_items import unique_items
from samples import advanced_rag
from teola.runner import default_runner

_count = iter(range(1 << 60))


async def _ask(engine: Any, op: str, *inputs: Any, **attrs: Any) -> tuple[Any, ...]:
    request = Request(f"{next(_count):032x}", op, inputs, attrs)
    (outcome,) = await engine.execute([request])
    if not isinstance(outcome, Result):
        raise outcome
    return outcome.outputs


async def _generate(llm: Any, *parts: Any, **attrs: Any) -> str:
    (context,) = await _ask(llm, "prefill", None, *parts)
    text, after = await _ask(llm, "decode", context, **attrs)
    context.release()
    after.release()
    return str(text)


async def _rag(question: str, files: list[str], k: int) -> str:
    from backends.tools.load import load
    from backends.tools.split import split

    app = advanced_rag
    find = default_runner()._runtime.scheduler
    llm, store = find("llm", app.llm.spec).engine, find("store", app.store.spec).engine
    assert app.store.embedder is not None
    embedder = find("embedder", app.store.embedder.spec).engine
    reranker = find("reranker", app.reranker.spec).engine
    await asyncio.gather(*(engine.start() for engine in (llm, store, embedder, reranker)))

    async def index() -> Any:
        docs = await asyncio.to_thread(lambda: split(load(files), chunk_tokens=200, overlap=30))
        (vectors,) = await _ask(embedder, "embed", docs)
        (handle,) = await _ask(store, "ingest", docs, vectors)
        return handle

    async def expand() -> list[str]:
        prompt = f"Write three short search queries, in other words, for: {question}"
        schema = app.expand._schema
        text = await _generate(
            llm, Turn("user"), prompt, Turn("assistant"), max_tokens=128, schema=schema
        )
        return app.Queries.model_validate_json(text).queries

    handle, queries = await asyncio.gather(index(), expand())
    (vectors,) = await _ask(embedder, "embed", queries)
    found = await asyncio.gather(
        *(_ask(store, "search", handle, q, v, k=8) for q, v in zip(queries, vectors, strict=True))
    )
    docs = unique_items([doc for (hits,) in found for doc in hits])
    (best,) = await _ask(reranker, "rerank", question, docs, k=k)
    passages = "\n".join(f"[{i}] {doc.text}" for i, doc in enumerate(best, start=1))
    return await _generate(
        llm,
        Turn("system"),
        "Answer the question from the passages, in one sentence.",
        Turn("user"),
        passages,
        "\n\nQuestion:",
        f" {question}",
        Turn("assistant"),
        max_tokens=48,
        stop=["\n"],
    )


def run(question: str, files: list[str], k: int = 2) -> str:
    """The answer, by hand."""
    return str(default_runner()._background.wait(_rag(question, files, k)))
