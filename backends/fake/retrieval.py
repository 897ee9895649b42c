"""Fake embedder, reranker and store: words as features, exact and repeatable."""

import hashlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.base import Request, Result, Usage
from backends.documents import Doc, Index, document_id
from backends.errors import RequestRejected
from backends.fake.engine import FakeEngine
from backends.store.collection import Collection, Entry

DIMENSIONS = 64
Array = npt.NDArray[np.float32]


def embed_text(text: str) -> Array:
    """A bag of hashed words, unit length: float32 [64]."""
    vector = np.zeros(DIMENSIONS, np.float32)
    for word in re.findall(r"\w+", text.lower()):
        vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:2], "big") % DIMENSIONS] += 1
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


class FakeEmbedder(FakeEngine):
    kind = "embedder"

    async def answer(self, request: Request) -> Result:
        (value,) = request.inputs
        if isinstance(value, str):
            return Result((embed_text(value),), Usage(num_items=1))
        texts = [item.text if isinstance(item, Doc) else item for item in value]
        rows = [embed_text(text) for text in texts]
        vectors = np.stack(rows) if rows else np.zeros((0, DIMENSIONS), np.float32)
        return Result((vectors,), Usage(num_items=len(texts)))


class FakeReranker(FakeEngine):
    kind = "reranker"

    async def answer(self, request: Request) -> Result:
        query, docs = request.inputs
        goal = embed_text(query)
        scored = [_scored(doc, float(embed_text(doc.text) @ goal)) for doc in docs]
        ranked = sorted(scored, key=lambda doc: -(doc.score or 0.0))
        return Result((ranked[: request.attrs.get("k")],), Usage(num_items=len(docs)))


class FakeStore(FakeEngine):
    """Rows as in the real store (`Collection`), in memory; every search is by cosine alone.

    An index keeps its documents as they were; a search of the whole store sees the newest of each
    id. What comes without vectors gets those of the fake embedder.
    """

    kind = "store"

    def __init__(self, url: str, options: Any) -> None:
        super().__init__(url, options)
        self._collection = Collection()

    async def answer(self, request: Request) -> Result:
        if request.op == "ingest":
            return self._ingest(*request.inputs)
        if request.op == "search":
            return self._search(*request.inputs, k=request.attrs.get("k", 10))
        raise RequestRejected(f"the fake store does not run {request.op!r}")

    def _ingest(self, docs: list[Doc], vectors: Array | None) -> Result:
        rows = vectors if vectors is not None else [embed_text(doc.text) for doc in docs]
        stored = [replace(doc, id=document_id(doc), score=None) for doc in docs]
        entries = {d.id: Entry(d, row) for d, row in zip(stored, rows, strict=True)}
        for row in rows:
            self._check_dimensions(row)
        keys = self._collection.upsert(list(entries.values()))
        return Result((Index("fake", keys),), Usage(num_items=len(docs)))

    def _search(self, index: Index | None, query: str, vector: Array | None, *, k: int) -> Result:
        rows = self._collection.select(None if index is None else index.ids)
        goal = vector if vector is not None else embed_text(query)
        if not len(rows):
            return Result(([],), Usage(num_items=1))
        self._check_dimensions(goal)
        held = zip(rows, self._collection.vectors(rows), strict=True)
        hits = [_scored(self._collection.docs[row], float(each @ goal)) for row, each in held]
        hits.sort(key=lambda doc: -(doc.score or 0.0))
        return Result((hits[:k],), Usage(num_items=1))

    def _check_dimensions(self, vector: Array) -> None:
        wanted = self._collection.dimensions
        if wanted not in (None, len(vector)):
            raise RequestRejected(
                f"the vector has {len(vector)} dimensions, those of the store have {wanted}: "
                "use one embedder a store"
            )


def _scored(doc: Doc, score: float) -> Doc:
    return Doc(doc.text, doc.id, score, doc.metadata)
