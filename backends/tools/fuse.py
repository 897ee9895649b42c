"""Several rankings of documents to one."""

from collections.abc import Sequence
from dataclasses import replace

from backends.documents import Doc
from backends.store.ranking import Hits
from backends.store.ranking import fuse as fuse_hits


def fuse(rankings: Sequence[Sequence[Doc]], k: int | None = None) -> list[Doc]:
    """The `k` best (all without `k`) by reciprocal rank fusion; equal ones as they first came.

    Documents with the same id are one, without ids those with the same text. The score is the
    fused one.
    """
    docs: dict[str, Doc] = {}
    for ranking in rankings:
        for doc in ranking:
            docs.setdefault(doc.id or doc.text, doc)
    found, position = list(docs.values()), {key: i for i, key in enumerate(docs)}
    hits: list[Hits] = [
        [(at, 0.0) for at in dict.fromkeys(position[doc.id or doc.text] for doc in ranking)]
        for ranking in rankings
    ]
    best = fuse_hits(hits, len(found) if k is None else k)
    return [replace(found[at], score=score) for at, score in best]
