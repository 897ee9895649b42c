"""Documents as rows.

`exact` holds what PostgreSQL's own types cannot: text with NUL or half a surrogate pair, numbers
like NaN, the order of metadata. `doc_id`, `text` and `metadata` are for filters and for people;
`metadata` is NULL where JSONB cannot hold it, and such rows are filtered here.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from backends.store.collection import Entry
from backends.store.lossless import exact_form, readable
from backends.store.words import count_words

COLUMNS = (
    *("id_hash", "content", "is_newest", "doc_id", "text", "metadata", "exact", "embedding"),
    *("words", "counts", "num_words"),
)
TYPES = (
    *("bytea", "text", "bool", "text", "text", "jsonb", "text", "vector"),
    *("int8[]", "int4[]", "int4"),
)
WORD_BITS = 63


def id_hash(doc_id: str) -> bytes:
    """Short, whatever the length of the id."""
    return hashlib.sha256(doc_id.encode("utf-8", "surrogatepass")).digest()[:16]


def all_columns(rows: Sequence[tuple[Entry, str]]) -> list[list[Any]]:
    """The values of COLUMNS for entries with their contents, as the newest rows."""
    counted = count_words([entry.doc.text for entry, _ in rows], WORD_BITS)
    return [_columns(*row, words) for row, words in zip(rows, counted, strict=True)]


def _columns(entry: Entry, content: str, words: Counter[int]) -> list[Any]:
    doc = entry.doc
    return [
        *(id_hash(doc.id), content, True, readable(doc.id), readable(doc.text)),
        *(as_jsonb(dict(doc.metadata)), exact_form(doc), entry.vector),
        *(list(words), list(words.values()), words.total()),
    ]


def as_jsonb(value: Any) -> Jsonb | None:
    """None for what JSONB cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError:  # NaN or infinity; half a surrogate pair
        return None
    return None if "\\u0000" in text else Jsonb(value)
