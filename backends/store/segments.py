"""A store on disk: a folder of segments, each written whole and then never changed.

    00000001.npy     float32 [N, D], the vectors; absent when the segment has none
    00000001.jsonl   a head line {count, vectors, sha256...}, then a line a change

A change is a document that was written, or `{"deleted": ID}`. A *base* segment stands for all
before it: documents that it does not hold are deleted, and older segments may be removed.

A segment exists when its `.jsonl` does: it is renamed into place last. Both files are checked
against the hashes of the head when they are read, so a torn segment is seen. Torn at the end it
is a write that never finished: it is left out and named. Torn in the middle it is damage.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.documents import Doc
from backends.errors import EngineUnavailable
from backends.store.collection import Entry

_PLAIN, _WITH_DELETIONS = 1, 2  # formats: a teola that knows no deletions must not pass them over
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Segment:
    """One write: first the deletions count, then the documents."""

    entries: Sequence[Entry] = ()
    deleted: Sequence[str] = ()  # ids
    is_base: bool = False  # all that is not in it is deleted

    @property
    def num_changes(self) -> int:
        return len(self.entries) + len(self.deleted)


class TornSegmentError(Exception):
    """A segment's files are not what its head says."""


class Segments:
    """The segments of one folder. Writers hold the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.torn: list[Path] = []  # left out, for people to look at
        self.num_changes = 0  # in the segments that count, as far as they were read
        self._next = 1

    def read_new(self) -> Iterator[Segment]:
        """The segments that appeared since the last call, oldest first.

        Raises EngineUnavailable when one before the last is damaged.
        """
        while numbers := self._numbers():
            number = numbers[0]
            try:
                segment = _read(self._path(number))
            except FileNotFoundError:  # another process replaced it by a base that comes later
                continue
            except TornSegmentError as error:
                if number != numbers[-1]:
                    raise EngineUnavailable(
                        f"{error}; it is not the last segment, so documents are lost: restore it "
                        "from a copy, or remove it to go on without them"
                    ) from error
                self._report(self._path(number), error)
                return
            self._count(number, segment)
            yield segment

    def append(self, segment: Segment) -> None:
        """Write it, durably. The caller holds the lock and has read all others."""
        path = self._path(self._next)
        _put_aside(path)
        _write(path, segment)
        self._count(self._next, segment)

    def remove_older(self) -> None:
        """Remove the segments before the last, which is a base. The caller holds the lock."""
        last = self._path(self._next - 1)
        for path in sorted(self.folder.glob("*.jsonl")):
            if path.stem.isdigit() and path.stem < last.stem:
                path.unlink()
                path.with_suffix(".npy").unlink(missing_ok=True)

    def _count(self, number: int, segment: Segment) -> None:
        self._next = number + 1
        self.num_changes = segment.num_changes + (0 if segment.is_base else self.num_changes)

    def _numbers(self) -> list[int]:
        names = (path.stem for path in self.folder.glob("*.jsonl"))
        return sorted(n for n in (int(name) for name in names if name.isdigit()) if n >= self._next)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.jsonl"

    def _report(self, path: Path, error: Exception) -> None:
        if path not in self.torn:
            self.torn.append(path)
            _log.warning("left out the last segment, its write never finished: %s", error)


def _put_aside(path: Path) -> None:
    """A torn segment makes way, else it would be in the middle from now on."""
    if path.exists():
        vectors = path.with_suffix(".npy")
        if vectors.exists():
            vectors.replace(path.with_suffix(".npy.torn"))
        path.replace(path.with_suffix(".torn"))


def _write(path: Path, segment: Segment) -> None:
    lines = [json.dumps({"deleted": doc_id}) + "\n" for doc_id in segment.deleted]
    body = "".join([*lines, *map(_document_line, segment.entries)]).encode()
    vectors = _vectors_file(segment.entries)
    is_plain = not segment.deleted and not segment.is_base
    head = {
        "format": _PLAIN if is_plain else _WITH_DELETIONS,
        "count": len(segment.entries),
        "base": segment.is_base,
        "documents_sha256": hashlib.sha256(body).hexdigest(),
        "vectors_sha256": hashlib.sha256(vectors).hexdigest() if vectors else None,
    }
    if vectors:
        _write_file(path.with_suffix(".npy"), vectors)
    _write_file(path, json.dumps(head).encode() + b"\n" + body)


def _document_line(entry: Entry) -> str:
    doc = entry.doc
    record = {"id": doc.id, "text": doc.text, "metadata": dict(doc.metadata)}
    return json.dumps({**record, "has_vector": entry.vector is not None}) + "\n"


def _vectors_file(entries: Sequence[Entry]) -> bytes:
    rows = [entry.vector for entry in entries if entry.vector is not None]
    if not rows:
        return b""
    file = io.BytesIO()
    np.save(file, np.stack(rows), allow_pickle=False)
    return file.getvalue()


def _write_file(path: Path, content: bytes) -> None:
    """All of it or nothing, on the disk itself when this returns."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path) -> Segment:
    head_line, _, body = path.read_bytes().partition(b"\n")
    head = _head(path, head_line)
    if hashlib.sha256(body).hexdigest() != head["documents_sha256"]:
        raise TornSegmentError(f"{path} is torn: its documents are not those that were written")
    vectors = iter(_read_vectors(path.with_suffix(".npy"), head["vectors_sha256"]))
    entries: list[Entry] = []
    deleted: list[str] = []
    for line in body.splitlines():
        record = json.loads(line)
        if "deleted" in record:
            deleted.append(record["deleted"])
            continue
        doc = Doc(record["text"], record["id"], metadata=record["metadata"])
        entries.append(Entry(doc, next(vectors) if record["has_vector"] else None))
    return Segment(entries, deleted, bool(head.get("base")))


def _head(path: Path, line: bytes) -> dict[str, Any]:
    try:
        head = json.loads(line)
        version = head["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise TornSegmentError(f"{path} is torn: it has no head") from error
    if version not in (_PLAIN, _WITH_DELETIONS):
        raise EngineUnavailable(
            f"{path} has format {version}; this teola reads {_PLAIN} and {_WITH_DELETIONS}"
        )
    return dict(head)


def _read_vectors(path: Path, sha256: str | None) -> Any:
    if sha256 is None:
        return ()
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise TornSegmentError(f"{path} is torn: its vectors are not those that were written")
    return np.load(io.BytesIO(content), allow_pickle=False)  # [N, D]
