"""The documents of a store and their vectors, in insertion order. Used from one thread.

Shapes: R rows (documents), D vector dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backends.documents import Doc
from backends.errors import RequestRejected

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Entry:
    """A document as it is stored: its id is set; its vector is normalised, or None."""

    doc: Doc
    vector: Vectors | None  # [D]


class Collection:
    """Rows are only added or replaced, never moved, so a row number is an insertion order."""

    def __init__(self) -> None:
        self.docs: list[Doc] = []
        self.rows: dict[str, int] = {}  # by document id
        self.written: Rows = np.zeros(0, np.int64)  # [capacity], the write that last set a row
        self._vectors: Vectors | None = None  # [capacity, D]
        self._has_vector = np.zeros(0, np.bool_)  # [capacity]
        self._num_writes = 0

    def __len__(self) -> int:
        return len(self.docs)

    @property
    def dimensions(self) -> int | None:
        """D, or None before the first vector."""
        return None if self._vectors is None else self._vectors.shape[1]

    def upsert(self, entries: Sequence[Entry]) -> None:
        """Add documents, or replace those of the same id in their rows."""
        self._num_writes += 1
        self._reserve(len(self.docs) + len(entries))
        for entry in entries:
            row = self.rows.setdefault(entry.doc.id, len(self.docs))
            if row == len(self.docs):
                self.docs.append(entry.doc)
            self.docs[row] = entry.doc
            self.written[row] = self._num_writes
            self._set_vector(row, entry.vector)

    def select(self, ids: Sequence[str] | None) -> Rows:
        """The rows of an index (None: all), ascending and each once. Raises RequestRejected."""
        if ids is None:
            return np.arange(len(self.docs))
        missing = [doc_id for doc_id in ids if doc_id not in self.rows]
        if missing:
            raise RequestRejected(f"the store has no document {missing[0]!r} of this index")
        return np.unique(np.array([self.rows[doc_id] for doc_id in ids], np.int64))

    def with_vectors(self, rows: Rows) -> Rows:
        """Those of `rows` that have a vector."""
        return rows[self._has_vector[rows]]

    def vectors(self, rows: Rows) -> Vectors:
        """Unit vectors [R, D] of ascending `rows`; no copy when they are neighbours."""
        assert self._vectors is not None, "no vectors were stored"
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return self._vectors[rows[0] : rows[-1] + 1]
        return self._vectors[rows]

    def check_integrity(self) -> None:
        """Asserts what every other method relies on."""
        assert len(self.rows) == len(self.docs), "an id stands for two rows"
        for doc_id, row in self.rows.items():
            assert self.docs[row].id == doc_id, f"row {row} is not {doc_id!r}"

    def _set_vector(self, row: int, vector: Vectors | None) -> None:
        self._has_vector[row] = vector is not None
        if vector is None:
            return
        if self._vectors is None:
            self._vectors = np.zeros((len(self.written), len(vector)), np.float32)
        self._vectors[row] = vector

    def _reserve(self, size: int) -> None:
        """Room for `size` rows; doubling keeps adding cheap."""
        extra = max(size, 2 * len(self.written)) - len(self.written)
        if size <= len(self.written):
            return
        self.written = np.pad(self.written, (0, extra))
        self._has_vector = np.pad(self._has_vector, (0, extra))
        if self._vectors is not None:
            self._vectors = np.pad(self._vectors, ((0, extra), (0, 0)))


def unit_vectors(vectors: Vectors) -> Vectors:
    """Rows scaled to length 1; a zero row stays zero. [R, D]"""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # [R, 1]
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled
