"""Documents as points.

Two collections: NAME holds of each id the newest document, NAME.rows every row. The point of a
document is found by its id, the point of a row by its key, so what is written twice is there once.

    doc_id, text, metadata   for people
    exact, content           the document as it was written, and the content part of its row's key
    order                    the time of its first writing: equal scores go by it
    facts, numbers           what filters test: hashes of fields and values; numbers by field
    is_odd                   metadata holds numbers that no float has: filtered here
"""

import hashlib
import json
import math
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from backends.documents import Doc
from backends.store.collection import Entry, Vectors
from backends.store.lossless import doc_of, exact_form, readable
from backends.store.words import K1, B, count_words

VECTOR, WORDS = "text", "words"  # the names of a point's vectors
WORD_BITS = 31


def point_id(name: str) -> str:
    """Of a document by its id, or of a row by its key."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return str(uuid.UUID(bytes=digest[:16]))


def payload_of(entry: Entry, content: str, order: int) -> dict[str, Any]:
    doc = entry.doc
    return {
        "doc_id": readable(doc.id),
        "text": readable(doc.text),
        "metadata": _shown(doc.metadata),
        "exact": exact_form(doc),
        "content": content,
        "order": order,
        "facts": list(facts_of(doc.metadata)),
        "numbers": {field_hash(field): v for field, v in _numbers(doc.metadata)},
        "is_odd": any(map(_is_odd, doc.metadata.values())),
    }


def all_vectors(entries: Sequence[Entry], average_words: int) -> list[dict[str, Any]]:
    """Of each its embedding, if it has one, and BM25's weights of its words without IDF."""
    counted = count_words([entry.doc.text for entry in entries], WORD_BITS)
    return [_vectors(*one, average_words) for one in zip(entries, counted, strict=True)]


def _vectors(entry: Entry, counts: Counter[int], average_words: int) -> dict[str, Any]:
    length = K1 * (1 - B + B * counts.total() / average_words)
    weights = [count / (length + count) for count in counts.values()]
    found: dict[str, Any] = {WORDS: models.SparseVector(indices=list(counts), values=weights)}
    if entry.vector is not None:
        found[VECTOR] = entry.vector.tolist()
    return found


def read_doc(payload: Mapping[str, Any]) -> Doc:
    return doc_of(payload["doc_id"], payload.get("text", ""), payload["exact"])


def read_vector(vectors: Any) -> Vectors | None:
    found = vectors.get(VECTOR) if isinstance(vectors, dict) else None
    return None if found is None else np.asarray(found, np.float32)


def row_of(payload: Mapping[str, Any], point: str) -> int:
    """A number that tells documents apart and goes up in the order of writing."""
    return (int(payload["order"]) << 128) | uuid.UUID(point).int


def facts_of(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Of each field its value; of a field with text, that too."""
    for field, value in metadata.items():
        fact = fact_of(field, value)
        if fact is not None:
            yield fact
        if isinstance(value, str):
            yield text_fact(field)


def fact_of(field: str, value: Any) -> str | None:
    """Equal for values that Python finds equal; None for what equals nothing (NaN)."""
    try:
        return _hash(json.dumps([field, _canonical(value)]))
    except ValueError:
        return None


def text_fact(field: str) -> str:
    return _hash(json.dumps([field]))


def field_hash(field: str) -> str:
    return _hash(json.dumps(field))


def _canonical(value: Any) -> Any:
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {"": sorted([[key, _canonical(item)] for key, item in value.items()], key=str)}
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("NaN equals nothing")
    is_whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return int(value) if is_whole else value


def _numbers(metadata: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for field, value in metadata.items():
        if isinstance(value, bool | int | float) and not _is_odd(value):
            yield field, float(value)


def _is_odd(value: Any) -> bool:
    """Whether it is a number that no finite float equals."""
    try:
        return isinstance(value, int | float) and not (
            math.isfinite(value) and float(value) == value
        )
    except OverflowError:
        return True


def _shown(metadata: Mapping[str, Any]) -> Any:
    """As JSON, or as its text where JSON has no form for it."""
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError:
        return json.dumps(dict(metadata))
    return dict(metadata)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
