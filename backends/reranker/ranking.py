"""What the op `rerank` is given, and what it answers."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from backends.base import Request, Result, Usage
from backends.documents import Doc
from backends.errors import RequestRejected
from backends.text_check import check_texts


def ranked(docs: Sequence[Doc], scores: Iterable[float], k: int | None) -> Result:
    """Best first; documents of equal score keep the order they came in."""
    scored = [replace(doc, score=score) for doc, score in zip(docs, scores, strict=True)]
    best_first = sorted(scored, key=lambda doc: -(doc.score or 0.0))
    return Result((best_first[:k],), Usage(num_items=len(scored)))


def inputs_of(request: Request) -> tuple[str, Sequence[Doc], int | None]:
    """Query, documents and k. Raises RequestRejected for anything else."""
    if request.op != "rerank":
        raise RequestRejected(f"a reranker runs 'rerank', not {request.op!r}")
    if len(request.inputs) != 2:
        raise RequestRejected(f"'rerank' takes a query and documents, got {request.inputs!r:.80}")
    query, docs = request.inputs
    k = request.attrs.get("k")
    if not isinstance(query, str):
        raise RequestRejected(f"'rerank' takes a query str, got {type(query).__name__}")
    if not isinstance(docs, list | tuple) or not all(isinstance(doc, Doc) for doc in docs):
        raise RequestRejected("'rerank' takes a list of Doc")
    if k is not None and (not isinstance(k, int) or k < 0):
        raise RequestRejected(f"'rerank': k must be None or a count, got {k!r}")
    check_texts((query, *(doc.text for doc in docs)))
    return query, docs, k
