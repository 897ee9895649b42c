"""Searches over sets of documents; a set's BM25 index is built once and kept while it is valid."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from backends.documents import Doc
from backends.errors import RequestRejected
from backends.store.collection import Collection, Rows
from backends.store.jobs import Search
from backends.store.ranking import Hits, depth_of, fuse, nearest, top_k

if TYPE_CHECKING:
    from backends.store.bm25 import Bm25

_KEPT_INDEXES = 64

Keys = tuple[str, ...] | None
Found = list[Doc] | RequestRejected


@dataclass(frozen=True, slots=True)
class _Kept:
    generation: int  # of the collection
    rows: Rows  # that the index was built of; they never change
    index: "Bm25"


class Searcher:
    """Runs searches over one collection. Hits are (row, score); used from one thread."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._kept: OrderedDict[Keys, _Kept] = OrderedDict()

    def run(self, searches: Sequence[Search]) -> list[Found]:
        """One answer a search, in order; those over the same set share one matrix product."""
        members: dict[Keys, list[int]] = {}
        for i, search in enumerate(searches):
            members.setdefault(search.keys, []).append(i)
        found: dict[int, Found] = {}
        for keys, group in members.items():
            answers = self._search_set(keys, [searches[i] for i in group])
            found.update(zip(group, answers, strict=True))
        return [found[i] for i in range(len(searches))]

    def _search_set(self, keys: Keys, searches: Sequence[Search]) -> list[Found]:
        try:
            rows = self._collection.select(keys)
        except RequestRejected as error:
            return [error] * len(searches)
        shared = [s for s in searches if s.where is None and not self._problem(rows, s)]
        near = dict(zip(map(id, shared), self._nearest(rows, shared), strict=True))
        return [
            self._problem(rows, search)
            or self._documents(self._hits(rows, search, near.get(id(search))))
            for search in searches
        ]

    def _problem(self, rows: Rows, search: Search) -> RequestRejected | None:
        if search.mode == "bm25" or not len(rows):
            return None
        dimensions = self._collection.dimensions
        if dimensions is None or not len(self._collection.with_vectors(rows)):
            return RequestRejected(
                f"no document of this index has a vector, so mode {search.mode!r} finds none; "
                "ingest with an embedder, or use mode='bm25'"
            )
        assert search.vector is not None, "read_request lets no such search pass"
        if len(search.vector) != dimensions:
            return RequestRejected(
                f"the query's vector has {len(search.vector)} dimensions, "
                f"the store's have {dimensions}: they come from different embedders"
            )
        return None

    def _hits(self, rows: Rows, search: Search, near: Hits | None) -> Hits:
        """`near` is the vector side where it was computed with others already."""
        scope = self._filter(rows, search)
        if search.mode == "bm25":
            return self._by_words(rows, scope, search, search.k)
        if near is None:
            (near,) = self._nearest(scope, [search])
        if search.mode == "vector":
            return near
        return fuse(
            [near, self._by_words(rows, scope, search, depth_of(search.mode, search.k))], search.k
        )

    def _filter(self, rows: Rows, search: Search) -> Rows:
        if search.where is None:
            return rows
        docs = self._collection.docs
        return np.array([row for row in rows if search.where(docs[row].metadata)], np.int64)

    def _nearest(self, rows: Rows, searches: Sequence[Search]) -> list[Hits]:
        rows = self._collection.with_vectors(rows)
        wanting = [search for search in searches if search.mode != "bm25"]
        if not wanting or not len(rows):
            return [[] for _ in searches]
        queries = np.stack([s.vector for s in wanting if s.vector is not None])  # [Q, D]
        depths = [depth_of(search.mode, search.k) for search in wanting]
        hits = iter(nearest(self._collection.vectors(rows), queries, depths))
        return [
            [(int(rows[position]), score) for position, score in next(hits)]
            if search.mode != "bm25"
            else []
            for search in searches
        ]

    def _by_words(self, rows: Rows, scope: Rows, search: Search, k: int) -> Hits:
        """The best k of `scope`; statistics are those of all `rows`. Texts without a word: none."""
        scores = self._index(search.keys, rows).scores(search.query)  # [R]
        scores = np.where(np.isin(rows, scope), scores, 0)
        return [(int(rows[position]), score) for position, score in top_k(scores, k) if score > 0]

    def _index(self, keys: Keys, rows: Rows) -> "Bm25":
        from backends.store.bm25 import Bm25  # late: who searches by vectors alone needs no bm25s

        kept = self._kept.get(keys)
        generation = self._collection.generation
        if kept is None or kept.generation != generation or not np.array_equal(kept.rows, rows):
            texts = [self._collection.docs[row].text for row in rows]
            kept = self._kept[keys] = _Kept(generation, rows, Bm25(texts))
        self._kept.move_to_end(keys)
        if len(self._kept) > _KEPT_INDEXES:
            self._kept.popitem(last=False)
        return kept.index

    def _documents(self, hits: Hits) -> list[Doc]:
        return [replace(self._collection.docs[row], score=score) for row, score in hits]
