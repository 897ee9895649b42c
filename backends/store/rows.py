"""Rows of stores in another process: their keys, and how an index names them.

A row is one content of one document id, and never changes. Its key is `ID@CONTENT`, where the
content is a hash of text and metadata, with `.1`, `.2` ... for vectors of further embedders.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from backends.errors import RequestRejected
from backends.store.collection import Entry, Vectors, are_near


def content_of(entry: Entry, stored: Mapping[str, Vectors | None]) -> str:
    """The content that the entry's row has; `stored` are the vectors of the id's rows by theirs."""
    for variant in count():
        content = f"{entry.content}.{variant}" if variant else entry.content
        if content not in stored or are_near(stored[content], entry.vector):
            return content
    raise AssertionError("numbers do not end")


def key_of(doc_id: str, content: str) -> str:
    return f"{doc_id}@{content}"


def split_key(key: str) -> tuple[str, str]:
    """The document's id and the content."""
    doc_id, _, content = key.rpartition("@")
    return doc_id, content


def last_of_each_id(keys: Sequence[str]) -> list[str]:
    """Of an index that names two rows of one id (it was ingested in pieces) the later counts."""
    return list({split_key(key)[0]: key for key in keys}.values())


def require_all(keys: Sequence[str], found: Iterable[str]) -> None:
    """Raises RequestRejected if a row that an index names is not there."""
    missing = set(keys) - set(found)
    if missing:
        first = next(key for key in keys if key in missing)
        raise RequestRejected(
            f"the store has no document {first!r} of this index; it was made by another store, "
            "or very many changes ago"
        )


def common_dimensions(entries: Iterable[Entry], dimensions: int | None) -> int | None:
    """Those of the store after these are written. Raises RequestRejected where they differ."""
    for entry in entries:
        if entry.vector is None:
            continue
        dimensions = dimensions or len(entry.vector)
        if len(entry.vector) != dimensions:
            raise RequestRejected(
                f"the vectors have {len(entry.vector)} dimensions, the store's have "
                f"{dimensions}: use one embedder a store"
            )
    return dimensions


def no_vectors(mode: str) -> RequestRejected:
    """Documents without vectors are searched by vector."""
    return RequestRejected(
        f"no document of this index has a vector, so mode {mode!r} finds none; "
        "ingest with an embedder, or use mode='bm25'"
    )


def other_dimensions(vector: Vectors, dimensions: int) -> RequestRejected:
    """The query's vector has another length than the store's."""
    return RequestRejected(
        f"the query's vector has {len(vector)} dimensions, "
        f"the store's have {dimensions}: they come from different embedders"
    )
