"""Writing and deleting. Rows go first: until the newest documents change, nobody sees them."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

from qdrant_client import models

from backends.documents import Doc
from backends.store.collection import Entry, Vectors
from backends.store.deletion import who_goes
from backends.store.jobs import Delete, as_stored
from backends.store.qdrant.filters import has_any, ids
from backends.store.qdrant.points import (
    all_vectors,
    fact_of,
    payload_of,
    point_id,
    read_doc,
    read_vector,
)
from backends.store.qdrant.tables import Tables
from backends.store.rows import common_dimensions, content_of, key_of, require_all

OLD_ROWS = 10_000  # kept for those who hold an index of them
_REQUEST_BYTES = 4_000_000  # of one write, about; servers refuse 32 MB


class Changes:
    """The changes of one collection, one after another within a process."""

    def __init__(self, tables: Tables, average_words: int) -> None:
        self._tables = tables
        self._average_words = average_words
        self._turn = asyncio.Lock()

    async def ingest(self, given: Sequence[Entry]) -> tuple[str, ...]:
        """Make each the newest of its id; the keys of their rows."""
        entries = [as_stored(entry) for entry in given]
        async with self._turn:
            dimensions = await self._tables.dimensions()
            await self._tables.make(common_dimensions(entries, dimensions))
            contents, orders = await self._contents(entries)
            newest = await self._tables.retrieve(
                self._tables.newest, [point_id(e.doc.id) for e in entries], ["content"]
            )
            await self._write(entries, contents, orders, newest)
        return tuple(key_of(e.doc.id, contents[e.doc.id]) for e in entries)

    async def delete(self, delete: Delete) -> int:
        """How many documents there were."""
        async with self._turn:
            kept = [] if delete.kept is None else await self._kept(delete.kept)
            if not await self._tables.exists():
                return 0
            goes = who_goes(delete, kept)
            chosen = None if delete.everything or delete.sources or kept else _named(delete)
            payload = ["doc_id", "exact", "content"]
            gone: dict[str, str] = {}  # key of the row, by point
            async for record in self._tables.scroll(self._tables.newest, chosen, payload):
                doc = read_doc(record.payload)
                if goes(doc.id, doc.metadata):
                    gone[str(record.id)] = key_of(doc.id, record.payload["content"])
            if gone:
                await _whole(self._remove(gone))
        return len(gone)

    async def _contents(self, entries: Sequence[Entry]) -> tuple[dict[str, str], dict[str, int]]:
        """By document id: the content that its row has, and its order if the row is there."""
        contents: dict[str, str] = {}
        orders: dict[str, int] = {}
        stored: dict[str, dict[str, Vectors | None]] = {entry.doc.id: {} for entry in entries}
        asked = list(entries)
        while asked:
            names = {e.doc.id: content_of(e, stored[e.doc.id]) for e in asked}
            points = {e.doc.id: point_id(key_of(e.doc.id, names[e.doc.id])) for e in asked}
            found = await self._tables.retrieve(
                self._tables.rows, list(points.values()), ["order"], vectors=True
            )
            missing = []
            for entry in asked:
                name, record = names[entry.doc.id], found.get(points[entry.doc.id])
                contents[entry.doc.id] = name
                if record is None:
                    continue
                stored[entry.doc.id][name] = read_vector(record.vector)
                if content_of(entry, stored[entry.doc.id]) == name:
                    orders[entry.doc.id] = record.payload["order"]
                else:
                    missing.append(entry)  # the row of another embedder
            asked = missing
        return contents, orders

    async def _write(
        self,
        entries: Sequence[Entry],
        contents: Mapping[str, str],
        orders: Mapping[str, int],
        newest: Mapping[str, Any],
    ) -> None:
        now = time.time_ns()
        changed = [
            (i, entry)
            for i, entry in enumerate(entries)
            if _content(newest.get(point_id(entry.doc.id))) != contents[entry.doc.id]
        ]
        given = [entry for _, entry in changed]
        vectors = await asyncio.to_thread(all_vectors, given, self._average_words)
        points: list[tuple[str, models.PointStruct]] = []  # with the key of the row
        for (i, entry), vector in zip(changed, vectors, strict=True):
            doc_id, content = entry.doc.id, contents[entry.doc.id]
            payload = payload_of(entry, content, orders.get(doc_id, now + i))
            point = models.PointStruct(id=point_id(doc_id), payload=payload, vector=vector)
            points.append((key_of(doc_id, content), point))
        await self._tables.index_numbers(
            {f for _, p in points for f in (p.payload or {})["numbers"]}
        )
        await self._upsert(self._tables.rows, [_as_row(key, point, now) for key, point in points])
        if points:
            await _whole(self._renew([point for _, point in points], entries, newest))

    async def _renew(
        self, points: list[models.PointStruct], entries: Sequence[Entry], newest: Mapping[str, Any]
    ) -> None:
        names = {point_id(entry.doc.id): entry.doc.id for entry in entries}
        await self._upsert(self._tables.newest, points)
        old = [newest[str(point.id)] for point in points if str(point.id) in newest]
        await self._retire([key_of(names[str(r.id)], r.payload["content"]) for r in old])

    async def _remove(self, gone: Mapping[str, str]) -> None:
        selector = models.PointIdsList(points=list(gone))
        await self._tables.calls.call(
            "delete", collection_name=self._tables.newest, points_selector=selector
        )
        await self._retire(list(gone.values()))

    async def _retire(self, keys: Sequence[str]) -> None:
        """Their rows are old from now on; the longest old are forgotten."""
        rows = self._tables.rows
        if keys:
            await self._tables.calls.call(
                "set_payload",
                collection_name=rows,
                payload={"old_since": time.time_ns()},
                points=[point_id(key) for key in keys],
            )
        num_old = await self._tables.count(rows) - await self._tables.count(self._tables.newest)
        if num_old > 2 * OLD_ROWS:
            await self._forget(num_old - OLD_ROWS)

    async def _forget(self, most: int) -> None:
        newest: dict[str, str] = {}
        async for record in self._tables.scroll(self._tables.newest, None, ["content"]):
            newest[str(record.id)] = record.payload["content"]
        old: list[tuple[int, int, str]] = []
        payload = ["content", "document", "old_since", "order"]
        async for record in self._tables.scroll(self._tables.rows, None, payload):
            row = record.payload
            if newest.get(row["document"]) != row["content"]:
                old.append((row["old_since"], row["order"], str(record.id)))
        selector = models.PointIdsList(points=[point for *_, point in sorted(old)[:most]])
        await self._tables.calls.call(
            "delete", collection_name=self._tables.rows, points_selector=selector
        )

    async def _kept(self, keys: Sequence[str]) -> list[Doc]:
        points = {point_id(key): key for key in keys}
        found: Mapping[str, Any] = {}
        if keys and await self._tables.exists():
            payload = ["doc_id", "exact"]
            found = await self._tables.retrieve(self._tables.rows, list(points), payload)
        require_all(keys, [points[point] for point in found])
        return [read_doc(record.payload) for record in found.values()]

    async def _upsert(self, collection: str, points: Sequence[models.PointStruct]) -> None:
        for part in _parts(points):
            await self._tables.calls.call("upsert", collection_name=collection, points=part)


def _content(record: Any) -> str | None:
    return None if record is None else record.payload["content"]


def _as_row(key: str, point: models.PointStruct, now: int) -> models.PointStruct:
    payload = {**(point.payload or {}), "document": str(point.id), "old_since": now}
    return models.PointStruct(id=point_id(key), payload=payload, vector=point.vector)


def _named(delete: Delete) -> models.Filter:
    parents = [fact_of("parent", doc_id) for doc_id in delete.ids]
    named = ids([point_id(doc_id) for doc_id in delete.ids])
    return models.Filter(should=[named, has_any([fact for fact in parents if fact is not None])])


def _parts(points: Sequence[models.PointStruct]) -> Iterator[list[models.PointStruct]]:
    part: list[models.PointStruct] = []
    size = 0
    for point in points:
        size += _size(point)
        if part and size > _REQUEST_BYTES:
            yield part
            part, size = [], _size(point)
        part.append(point)
    if part:
        yield part


def _size(point: models.PointStruct) -> int:
    payload = point.payload or {}
    vectors: Any = point.vector
    numbers = len(vectors.get("text", ())) + 2 * len(vectors["words"].indices)
    return 12 * numbers + 2 * len(payload["text"]) + 3 * len(payload["exact"])


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end, whoever is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
