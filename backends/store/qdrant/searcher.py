"""Searches: candidates come from qdrant, their exact order by vector from here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from qdrant_client import models

from backends.documents import Doc
from backends.store.collection import Vectors
from backends.store.exact import Candidate, best, candidates
from backends.store.jobs import Search
from backends.store.qdrant.filters import ODD, ids, translate
from backends.store.qdrant.points import (
    VECTOR,
    WORD_BITS,
    WORDS,
    point_id,
    read_doc,
    read_vector,
    row_of,
)
from backends.store.qdrant.tables import Tables
from backends.store.ranking import Hits, depth_of, fuse
from backends.store.rows import last_of_each_id, no_vectors, other_dimensions, require_all
from backends.store.where import Where
from backends.store.words import query_words

_NO_VECTOR = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class _Found(Candidate):
    doc: Doc


@dataclass(frozen=True, slots=True)
class _Set:
    """The points that are searched, and of them those that the filter lets pass."""

    collection: str
    scope: models.Filter | None
    passing: models.Filter | None


class Searcher:
    """Runs searches of one collection."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def search(self, search: Search) -> list[Doc]:
        """The best k documents. Raises RequestRejected."""
        if search.keys and not await self._tables.exists():
            require_all(search.keys, ())
        if search.keys == () or not await self._tables.exists():
            return []
        found = await self._set(search)
        depth = depth_of(search.mode, search.k)
        near: Sequence[_Found] = []
        hits: Hits = []
        if search.vector is not None and search.mode != "bm25":
            near = await self._nearest(found, search, search.vector, depth)
            hits = best(near, search.vector, depth)
        words: list[_Found] = []
        if search.mode != "vector":
            words = await self._by_words(found, search.query, depth)
            ranked = [(one.row, one.score) for one in words]
            hits = ranked if search.mode == "bm25" else fuse([hits, ranked], search.k)
        docs = {one.row: one.doc for one in (*near, *words)}
        return [replace(docs[row], score=score) for row, score in hits]

    async def _set(self, search: Search) -> _Set:
        collection, scope = self._tables.newest, None
        if search.keys is not None:
            collection = self._tables.rows
            scope = models.Filter(must=[ids(await self._points(search.keys))])
        passing = scope
        if search.where is not None:
            passing = await self._passing(collection, scope, search.where)
        return _Set(collection, scope, passing)

    async def _points(self, keys: Sequence[str]) -> list[str]:
        """Of an index's rows, which may be forgotten at any time."""
        points = {point_id(key): key for key in keys}
        chosen = models.Filter(must=[ids(list(points))])
        if await self._tables.count(self._tables.rows, chosen) < len(points):
            found = await self._tables.retrieve(self._tables.rows, list(points), ["content"])
            require_all(keys, [points[point] for point in found])
        return [point_id(key) for key in last_of_each_id(keys)]

    async def _passing(
        self, collection: str, scope: models.Filter | None, where: Where
    ) -> models.Filter:
        """What qdrant has no condition for is tested here, document by document."""
        rough, is_exact = translate(where)
        both: list[Any] = [one for one in (scope, rough) if one is not None]
        if is_exact and not await self._has_odd(collection):
            return models.Filter(must=both)
        passing = [
            str(record.id)
            async for record in self._tables.scroll(
                collection, models.Filter(must=both), ["doc_id", "exact"]
            )
            if where(read_doc(record.payload).metadata)
        ]
        return models.Filter(must=[ids(passing)])

    async def _has_odd(self, collection: str) -> bool:
        return await self._tables.count(collection, models.Filter(must=[ODD])) > 0

    async def _nearest(
        self, found: _Set, search: Search, query: Vectors, depth: int
    ) -> Sequence[_Found]:
        dimensions = await self._tables.dimensions()
        if dimensions != len(query):
            await self._explain_nothing(found, search, dimensions)
            return []
        is_exact = found.collection == self._tables.rows and self._tables.calls.is_server
        params = models.SearchParams(exact=True) if is_exact else None

        async def fetch(limit: int) -> list[_Found]:
            return await self._query(found, query.tolist(), VECTOR, limit, params)

        near = await candidates(fetch, depth)
        if not near:
            await self._explain_nothing(found, search, dimensions)
        return near

    async def _explain_nothing(self, found: _Set, search: Search, dimensions: int | None) -> None:
        """Raises RequestRejected unless there was nothing to find."""
        if not await self._tables.count(found.collection, found.scope):
            return
        with_vector = models.HasVectorCondition(has_vector=VECTOR)
        must: list[Any] = [one for one in (found.scope, with_vector) if one is not None]
        chosen = models.Filter(must=must)
        if dimensions is None or not await self._tables.count(found.collection, chosen):
            raise no_vectors(search.mode)
        if search.vector is not None and len(search.vector) != dimensions:
            raise other_dimensions(search.vector, dimensions)

    async def _by_words(self, found: _Set, query: str, depth: int) -> list[_Found]:
        words = query_words(query, WORD_BITS)
        if not words:
            return []
        weights = [float(count) for count in words.values()]
        vector = models.SparseVector(indices=list(words), values=weights)
        params = None
        if found.scope is not None:
            params = models.SearchParams(idf=models.IdfCorpusParams(corpus=found.scope))

        async def fetch(limit: int) -> list[_Found]:
            return await self._query(found, vector, WORDS, limit, params)

        ranked = await candidates(fetch, depth)
        scored = sorted((one for one in ranked if one.score > 0), key=lambda o: (-o.score, o.row))
        return scored[:depth]

    async def _query(
        self, found: _Set, query: Any, using: str, limit: int, params: models.SearchParams | None
    ) -> list[_Found]:
        answer = await self._tables.calls.call(
            "query_points",
            collection_name=found.collection,
            query=query,
            using=using,
            query_filter=found.passing,
            search_params=params,
            limit=limit,
            with_payload=["doc_id", "text", "exact", "order"],
            with_vectors=[VECTOR] if using == VECTOR else False,
        )
        return [_found(point) for point in answer.points]


def _found(point: Any) -> _Found:
    vector = read_vector(point.vector)
    row = row_of(point.payload, str(point.id))
    return _Found(
        row, point.score, _NO_VECTOR if vector is None else vector, read_doc(point.payload)
    )
