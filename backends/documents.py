"""The values that retrieval passes around: documents, and the handle of an index."""

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
