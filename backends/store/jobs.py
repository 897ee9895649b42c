"""Requests of a store, read and checked once; from here on everything is well formed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from backends.base import Request
from backends.documents import Doc, Index, document_id
from backends.errors import RequestRejected
from backends.store.collection import Entry, Vectors, unit_vectors
from backends.store.where import Predicate, compile_where

Mode = Literal["vector", "bm25", "hybrid"]


@dataclass(frozen=True, slots=True)
class Ingest:
    """Documents to write; an id that comes twice is written as it came last."""

    entries: tuple[Entry, ...]
    num_items: int


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for, in which documents (`keys` None: all) and how."""

    keys: tuple[str, ...] | None
    query: str
    vector: Vectors | None  # [D], unit length
    k: int
    mode: Mode
    where: Predicate | None


def read_request(request: Request, collection: str) -> Ingest | Search:
    """Raises RequestRejected."""
    if request.op == "ingest" and len(request.inputs) == 2:
        return _read_ingest(*request.inputs)
    if request.op == "search" and len(request.inputs) == 3:
        return _read_search(*request.inputs, attrs=request.attrs, collection=collection)
    raise RequestRejected(
        "a store runs 'ingest' (documents, vectors) and 'search' (index, query, vector), "
        f"not {request.op!r} with {len(request.inputs)} inputs"
    )


def _read_ingest(docs: Any, vectors: Any) -> Ingest:
    if not isinstance(docs, list | tuple) or not all(isinstance(doc, Doc) for doc in docs):
        raise RequestRejected("'ingest' takes a list of Doc")
    rows: Sequence[Vectors | None] = [None] * len(docs)
    if vectors is not None:
        rows = list(unit_vectors(_checked(vectors, (len(docs), None), "'ingest' vectors")))
    entries: dict[str, Entry] = {}
    for doc, row in zip(docs, rows, strict=True):
        stored = replace(doc, id=document_id(doc), score=None)
        entries[stored.id] = Entry(stored, row)
    return Ingest(tuple(entries.values()), len(docs))


def _read_search(
    index: Any, query: Any, vector: Any, *, attrs: Mapping[str, Any], collection: str
) -> Search:
    if index is not None and not isinstance(index, Index):
        raise RequestRejected(f"'search' takes an Index or None, got {type(index).__name__}")
    if index is not None and index.collection != collection:
        raise RequestRejected(
            f"the index is of collection {index.collection!r}, this store is {collection!r}"
        )
    if not isinstance(query, str):
        raise RequestRejected(f"'search' takes a query str, got {type(query).__name__}")
    mode = _read_mode(attrs.get("mode"))
    if vector is None and mode != "bm25":
        raise RequestRejected(
            f"mode {mode!r} needs the query's vector: give the store an embedder, or mode='bm25'"
        )
    return Search(
        keys=index.ids if index is not None else None,
        query=query,
        vector=None if vector is None else _query_vector(vector),
        k=_read_k(attrs.get("k")),
        mode=mode,
        where=compile_where(attrs.get("where")),
    )


def _read_mode(mode: Any) -> Mode:
    for known in get_args(Mode):
        if known == (mode or "vector"):
            return cast(Mode, known)
    raise RequestRejected(f"unknown mode {mode!r}; known: {', '.join(get_args(Mode))}")


def _read_k(k: Any) -> int:
    if k is None:
        return 10
    if not isinstance(k, int) or isinstance(k, bool) or k < 0:
        raise RequestRejected(f"k must be a count, got {k!r}")
    return k


def _query_vector(vector: Any) -> Vectors:
    row: Vectors = unit_vectors(_checked(vector, (None,), "'search' vector")[None])[0]
    return row


def _checked(array: Any, shape: tuple[int | None, ...], what: str) -> NDArray[np.float32]:
    found = np.asarray(array)
    fits = len(found.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, found.shape, strict=True)
    )
    if not fits or found.dtype.kind != "f":
        wanted = ", ".join("D" if size is None else str(size) for size in shape)
        raise RequestRejected(
            f"{what} must be float [{wanted}], got {found.dtype} {list(found.shape)}"
        )
    if not np.isfinite(found).all():
        raise RequestRejected(f"{what} holds NaN or infinity")
    return found.astype(np.float32)
