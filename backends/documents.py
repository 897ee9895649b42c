"""The values that retrieval passes around: documents, and the handle of an index."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Doc:
    """A passage of text with where it came from and, after a search or rerank, its score."""

    text: str
    id: str = ""
    score: float | None = None  # higher is better; its scale is the engine's that set it
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """A handle on documents in a store as they were ingested: a later one of the same id is not
    seen through it. Without `ids` it stands for the whole collection, as it is when searched."""

    collection: str
    ids: tuple[str, ...] | None = None  # of rows: the store's own names for what it wrote


def document_id(doc: Doc) -> str:
    """The document's own id, or one of its content, so that ingesting again changes nothing."""
    return doc.id or content_hash(doc)


def content_hash(doc: Doc) -> str:
    """Equal for documents of equal text and metadata: 32 hex digits."""
    try:
        content = json.dumps([doc.text, dict(doc.metadata)], sort_keys=True, default=str)
    except (TypeError, ValueError):  # keys of several types, or a circle
        content = repr((doc.text, doc.metadata))
    import hashlib  # late: it loads the system's library of digests

    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]
