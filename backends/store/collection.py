"""The documents of a store and their vectors, in the order of writing. Used from one thread.

Shapes: R rows (documents), D vector dimensions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from backends.documents import Doc, content_hash
from backends.errors import RequestRejected

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

# The same text embedded in another batch is off by less, another embedder's vector by far more.
_VECTOR_ERROR = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """A document as it is stored: its id is set; its vector is normalised, or None."""

    doc: Doc
    vector: Vectors | None  # [D]
    content: str = field(init=False, repr=False)  # equal for equal text and metadata

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", content_hash(self.doc))

    def is_same(self, other: "Entry") -> bool:
        """Whether id and content are the same, and the vectors of one embedder."""
        same = (self.doc.id, self.content) == (other.doc.id, other.content)
        return same and are_near(self.vector, other.vector)


class Collection:
    """Rows never change, so whoever holds a row's key finds what it wrote.

    A document that comes again under its id makes a new row, the id's newest. The same content and
    vector again is the same row. An id that is deleted has no newest row any more. Old rows stay
    for those who hold their keys, until `forget` drops those that have been old the longest.
    """

    def __init__(self) -> None:
        self.docs: list[Doc] = []
        self.rows: dict[str, int] = {}  # by key
        self.generation = 0  # another one: rows have other numbers
        self._newest: dict[str, int] = {}  # by document id
        self._old: dict[int, None] = {}  # the other rows, the longest old first
        self._is_newest = np.zeros(0, np.bool_)  # [capacity]
        self._vectors: Vectors | None = None  # [capacity, D]
        self._has_vector = np.zeros(0, np.bool_)  # [capacity]

    def __len__(self) -> int:
        """The documents there are: of each id the newest."""
        return len(self._newest)

    @property
    def dimensions(self) -> int | None:
        """D, or None before the first vector."""
        return None if self._vectors is None else self._vectors.shape[1]

    def upsert(self, entries: Sequence[Entry]) -> tuple[str, ...]:
        """Make each the newest of its id; the keys of their rows, in order."""
        self._reserve(len(self.docs) + len(entries))
        return tuple(self._write(entry) for entry in entries)

    def delete(self, ids: Iterable[str]) -> int:
        """Take the newest row of each id away; how many there were."""
        rows = [self._newest.pop(doc_id) for doc_id in set(ids) & self._newest.keys()]
        for row in rows:
            self._set_old(row)
        return len(rows)

    def forget(self, most: int) -> None:
        """Drop old rows, if there are more than twice as many, until `most` are left."""
        if len(self._old) > 2 * most:
            dropped = set(list(self._old)[: len(self._old) - most])
            self._keep([row for row in range(len(self.docs)) if row not in dropped])

    def is_newest(self, entry: Entry) -> bool:
        """Whether writing it would change nothing."""
        row = self.rows.get(self._key(entry))
        return row is not None and row == self._newest.get(entry.doc.id)

    def ids(self) -> set[str]:
        """Those of the documents there are."""
        return set(self._newest)

    def of_index(self, keys: Sequence[str]) -> list[Doc]:
        """The documents that an index names. Raises RequestRejected."""
        return [self.docs[row] for row in self.select(keys)]

    def newest_docs(self) -> list[Doc]:
        """The documents there are, in the order of writing."""
        return [self.docs[row] for row in self.select(None)]

    def newest_entries(self) -> list[Entry]:
        """What must be written down so that reading it back makes the same documents."""
        return [Entry(self.docs[row], self._vector(row)) for row in self.select(None)]

    def select(self, keys: Sequence[str] | None) -> Rows:
        """The rows of an index, ascending; None: the newest of each id. Raises RequestRejected.

        Of an index that names two rows of one id (it was ingested in pieces) the later counts.
        """
        if keys is None:
            return np.flatnonzero(self._is_newest[: len(self.docs)])
        missing = [key for key in keys if key not in self.rows]
        if missing:
            raise RequestRejected(
                f"the store has no document {missing[0]!r} of this index; it was made by another "
                "store, by this one before it was closed, or very many changes ago"
            )
        last = {self.docs[row].id: row for row in (self.rows[key] for key in keys)}
        return np.unique(np.array(list(last.values()), np.int64))

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
        assert sorted(self.rows.values()) == list(range(len(self.docs))), "a row has no key"
        newest = np.flatnonzero(self._is_newest).tolist()
        assert newest == sorted(self._newest.values()), "an id has two newest rows, or none"
        assert sorted([*newest, *self._old]) == list(range(len(self.docs))), "a row is lost"
        for doc_id, row in self._newest.items():
            assert self.docs[row].id == doc_id, f"row {row} is not {doc_id!r}"

    def _write(self, entry: Entry) -> str:
        key = self._key(entry)
        row = self.rows.setdefault(key, len(self.docs))
        if row == len(self.docs):
            self.docs.append(entry.doc)
            self._set_vector(row, entry.vector)
        before = self._newest.get(entry.doc.id, row)
        if before != row:
            self._set_old(before)
        self._old.pop(row, None)
        self._is_newest[row] = True
        self._newest[entry.doc.id] = row
        return key

    def _set_old(self, row: int) -> None:
        self._is_newest[row] = False
        self._old[row] = None

    def _keep(self, kept: list[int]) -> None:
        """Only these rows stay; they get new numbers, in the same order."""
        numbers = {row: number for number, row in enumerate(kept)}
        self.docs = [self.docs[row] for row in kept]
        self.rows = {key: numbers[row] for key, row in self.rows.items() if row in numbers}
        self._newest = {doc_id: numbers[row] for doc_id, row in self._newest.items()}
        self._old = {numbers[row]: None for row in self._old if row in numbers}
        self._is_newest, self._has_vector = self._is_newest[kept], self._has_vector[kept]
        self._vectors = None if self._vectors is None else self._vectors[kept]
        self.generation += 1

    def _key(self, entry: Entry) -> str:
        """Of the row that holds this entry, or of a new one; the same in every process."""
        name = f"{entry.doc.id}@{entry.content}"
        for variant in count():  # of one content, by embedder
            key = f"{name}.{variant}" if variant else name
            row = self.rows.get(key)
            if row is None or are_near(self._vector(row), entry.vector):
                return key
        raise AssertionError("numbers do not end")

    def _vector(self, row: int) -> Vectors | None:
        if not self._has_vector[row]:
            return None
        assert self._vectors is not None, "a row has a vector"
        vector: Vectors = self._vectors[row]
        return vector

    def _set_vector(self, row: int, vector: Vectors | None) -> None:
        self._has_vector[row] = vector is not None
        if vector is None:
            return
        if self._vectors is None:
            self._vectors = np.zeros((len(self._has_vector), len(vector)), np.float32)
        self._vectors[row] = vector

    def _reserve(self, size: int) -> None:
        """Room for `size` rows; doubling keeps adding cheap."""
        extra = max(size, 2 * len(self._has_vector)) - len(self._has_vector)
        if size <= len(self._has_vector):
            return
        self._is_newest = np.pad(self._is_newest, (0, extra))
        self._has_vector = np.pad(self._has_vector, (0, extra))
        if self._vectors is not None:
            self._vectors = np.pad(self._vectors, ((0, extra), (0, 0)))


def are_near(one: Vectors | None, other: Vectors | None) -> bool:
    """Whether two vectors of one text come from the same embedder."""
    if one is None or other is None:
        return one is other
    if len(one) != len(other):
        return False
    off = one - other
    return float(off @ off) < _VECTOR_ERROR**2


def unit_vectors(vectors: Vectors) -> Vectors:
    """Rows scaled to length 1; a zero row stays zero. [R, D]"""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # [R, 1]
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled
