"""Measures a store: what it takes to write documents, and to search more and more of them."""

from collections.abc import AsyncIterator

from backends.documents import Index
from runtime.clock import now
from runtime.cost.curves import Row, Surface
from runtime.cost.latency import MEASURES, LatencyModel
from teola.profiling.bench import Bench, Run, doubling, first, surface
from teola.profiling.inputs import docs_of, request_of, vectors

_STORED = (256, 1024, 4096)
_MAX_QUERIES = 16


async def profile_store(bench: Bench) -> LatencyModel:
    """Documents of one length with synthetic vectors; searches over more and more of them."""
    length = int(MEASURES["ingest"][2])
    ids: list[str] = []
    collection = ""

    async def ingest(bench: Bench, size: int) -> AsyncIterator[Run]:
        nonlocal collection
        while True:
            docs = docs_of(size, length)
            request = request_of("ingest", docs, vectors(size), num_items=size)
            took_s, (result,) = await bench.once([request])
            index: Index = result.outputs[0]
            collection = index.collection
            ids.extend(index.ids or (doc.id for doc in docs))
            yield size, took_s

    async def search(bench: Bench, size: int) -> AsyncIterator[Run]:
        index = Index(collection, tuple(ids))
        while True:
            queries = [
                request_of("search", index, "school", vectors(1)[0], k=10, mode="vector")
                for _ in range(size)
            ]
            took_s, _ = await bench.once(queries)
            yield size, took_s

    most = bench.engine.info.max_batch_items
    await first(ingest(bench, 1))
    curve = await bench.sweep("ingest", length, doubling(1, most), bench.until(0.3), ingest)
    assert curve is not None, "the first point is always measured"
    rows: list[Row] = []
    for number, num_docs in enumerate(_STORED, start=1):
        while len(ids) < num_docs and (now() < bench.until(0.9) or not rows):
            await first(ingest(bench, min(most, num_docs - len(ids))))
        until_s = bench.until(0.3 + 0.7 * number / len(_STORED))
        sizes = doubling(1, min(most, _MAX_QUERIES))
        await first(search(bench, 1))
        row = await bench.sweep("search", len(ids), sizes, until_s, search)
        if row is not None and not any(len(ids) <= known.length for known in rows):
            rows.append(Row(float(len(ids)), row))
    return LatencyModel({"ingest": Surface.flat(curve), "search": surface(rows)})
