"""Fake embedder, reranker and store: words as features, exact and repeatable."""

import hashlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.base import Request, Result, Usage
from backends.documents import Doc
from backends.fake.engine import FakeEngine
from backends.store.runner import StoreRunner

DIMENSIONS = 64
Array = npt.NDArray[np.float32]


def embed_text(text: str) -> Array:
    """A bag of hashed words, unit length: float32 [64]."""
    vector = np.zeros(DIMENSIONS, np.float32)
    for word in re.findall(r"\w+", text.lower()):
        vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:2], "big") % DIMENSIONS] += 1
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


class FakeEmbedder(FakeEngine):
    """With the option `max_words` it reads no more of a text."""

    kind = "embedder"
    own_options = ("max_words",)

    async def answer(self, request: Request) -> Result:
        (value,) = request.inputs
        items = [value] if isinstance(value, str) else value
        words = [(item.text if isinstance(item, Doc) else item).split() for item in items]
        most = self.options.get("max_words")
        rows = [embed_text(" ".join(each[:most])) for each in words]
        vectors = np.stack(rows) if rows else np.zeros((0, DIMENSIONS), np.float32)
        cut = tuple(at for at, each in enumerate(words) if most is not None and len(each) > most)
        usage = Usage(num_items=len(words))
        return Result((vectors[0] if isinstance(value, str) else vectors,), usage, cut=cut)


class FakeReranker(FakeEngine):
    kind = "reranker"

    async def answer(self, request: Request) -> Result:
        query, docs = request.inputs
        goal = embed_text(query)
        scored = [_scored(doc, float(embed_text(doc.text) @ goal)) for doc in docs]
        ranked = sorted(scored, key=lambda doc: -(doc.score or 0.0))
        return Result((ranked[: request.attrs.get("k")],), Usage(num_items=len(docs)))


class FakeStore(FakeEngine):
    """The real store in memory, but that every search is by cosine alone.

    What comes without vectors gets those of the fake embedder.
    """

    kind = "store"

    def __init__(self, url: str, options: Any) -> None:
        super().__init__(url, options)
        self._runner = StoreRunner("fake", None)

    async def answer(self, request: Request) -> Result:
        (outcome,) = self._runner.run([_with_vectors(request)])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _with_vectors(request: Request) -> Request:
    match request.op, request.inputs:
        case "ingest", (docs, None):
            rows = [embed_text(doc.text) for doc in docs]
            vectors = np.stack(rows) if rows else None
            return replace(request, inputs=(docs, vectors))
        case "search", (index, query, vector, *where):
            goal = embed_text(query) if vector is None else vector
            attrs = {**request.attrs, "mode": "vector"}
            return replace(request, inputs=(index, query, goal, *where), attrs=attrs)
    return request


def _scored(doc: Doc, score: float) -> Doc:
    return Doc(doc.text, doc.id, score, doc.metadata)
