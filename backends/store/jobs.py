"""Requests of a store, read and checked once; from here on everything is well formed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from backends.base import Request
from backends.documents import Doc, Index, document_id
from backends.errors import RequestRejected
from backends.store.collection import Entry, Vectors, unit_vectors
from backends.store.where import Where, compile_where

Mode = Literal["vector", "bm25", "hybrid"]
_PLAIN = (str, int, float, bool, type(None))  # what JSON gives back as it was


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
    where: Where | None


@dataclass(frozen=True, slots=True)
class Delete:
    """Which documents go: those named in any way, but none of the `kept` index's."""

    ids: frozenset[str]  # of documents, or of those that they were split from
    sources: tuple[str, ...]
    kept: tuple[str, ...] | None  # keys; its documents' own sources count too
    everything: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many documents there are."""


Job = Ingest | Search | Delete | Count


def read_request(request: Request, collection: str) -> Job:
    """Raises RequestRejected."""
    match request.op, request.inputs:
        case "ingest", (docs, vectors):
            return _read_ingest(docs, vectors)
        case "search", (index, query, vector):
            where = request.attrs.get("where")
            return _read_search(index, query, vector, where, request.attrs, collection)
        case "search", (index, query, vector, where):
            return _read_search(index, query, vector, where, request.attrs, collection)
        case "delete", (ids, sources, kept):
            everything = request.attrs.get("all") is True
            return _read_delete(ids, sources, kept, everything, collection)
        case "count", ():
            return Count()
    raise RequestRejected(
        "a store runs 'ingest' (documents, vectors), 'search' (index, query, vector, where), "
        "'delete' (ids, sources, kept index) and 'count', "
        f"not {request.op!r} with {len(request.inputs)} inputs"
    )


def as_stored(entry: Entry) -> Entry:
    """With metadata as it will be read back from the disk, so that reopening changes nothing.

    Raises RequestRejected.
    """
    if all(type(key) is str and type(v) in _PLAIN for key, v in entry.doc.metadata.items()):
        return entry
    try:
        metadata: dict[str, Any] = json.loads(json.dumps(dict(entry.doc.metadata)))
    except (TypeError, ValueError) as error:
        raise RequestRejected(
            f"the metadata of document {entry.doc.id!r} cannot be stored as JSON: {error}"
        ) from error
    return replace(entry, doc=replace(entry.doc, metadata=metadata))


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


def _read_delete(ids: Any, sources: Any, kept: Any, everything: bool, collection: str) -> Delete:
    keys = None if kept is None else _keys(kept, collection, "delete")
    if kept is not None and keys is None:
        raise RequestRejected("'delete' cannot keep the index of the whole store")
    named = frozenset(_texts(ids, "ids")), tuple(_texts(sources, "sources"))
    return Delete(*named, keys, everything)


def _texts(given: Any, what: str) -> Sequence[str]:
    if given is None:
        return ()
    is_list = isinstance(given, list | tuple | set | frozenset)
    if not is_list or not all(isinstance(text, str) for text in given):
        raise RequestRejected(f"'delete' takes a list of str as {what}, got {given!r}")
    return tuple(given)


def _keys(index: Any, collection: str, op: str) -> tuple[str, ...] | None:
    if not isinstance(index, Index):
        raise RequestRejected(f"{op!r} takes an Index or None, got {type(index).__name__}")
    if index.collection != collection and index.ids != ():
        raise RequestRejected(
            f"the index is of collection {index.collection!r}, this store is {collection!r}"
        )
    return index.ids


def _read_search(
    index: Any, query: Any, vector: Any, where: Any, attrs: Mapping[str, Any], collection: str
) -> Search:
    keys = None if index is None else _keys(index, collection, "search")
    if not isinstance(query, str):
        raise RequestRejected(f"'search' takes a query str, got {type(query).__name__}")
    mode = _read_mode(attrs.get("mode"))
    if vector is None and mode != "bm25":
        raise RequestRejected(
            f"mode {mode!r} needs the query's vector: give the store an embedder, or mode='bm25'"
        )
    return Search(
        keys=keys,
        query=query,
        vector=None if vector is None else _query_vector(vector),
        k=_read_k(attrs.get("k")),
        mode=mode,
        where=compile_where(where),
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
