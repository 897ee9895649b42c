"""A process that writes a store; run by test_store.py: FOLDER crash N | pause WHERE | many ME N."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from backends.base import Request, Result
from backends.documents import Doc
from backends.store import runner, segments
from backends.store.runner import StoreRunner
from backends.store.segments import Segments

DOCS = [Doc(text, text) for text in ("fr", "de", "jp", "bananas")]
VECTORS = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)


def write(store: StoreRunner, docs: list[Doc], vectors: Any) -> None:
    (outcome,) = store.run([Request("0" * 32, "ingest", (docs, vectors))])
    assert isinstance(outcome, Result), outcome


def crash(store: StoreRunner, at: int) -> None:
    """End without a word at the `at`-th step of two ingests: before or after a rename."""
    steps = iter(range(1, 100))
    replace = Path.replace

    def step() -> None:
        if next(steps) == at:
            os._exit(1)

    def replacing(self: Path, target: Path) -> Path:
        step()
        return replace(self, target)

    def writing(path: Path, content: bytes, then: Any = segments._write_file) -> None:
        then(path, content)
        if path.suffix == ".jsonl":
            step()

    Path.replace = replacing  # type: ignore[assignment, method-assign]
    segments._write_file = writing
    write(store, DOCS[:2], VECTORS[:2])
    write(store, DOCS[2:], VECTORS[2:])


def pause(store: StoreRunner, where: str) -> None:
    """Say when it is there, and wait for a line."""
    append, lock = Segments.append, runner.file_lock

    def wait() -> None:
        print(where, flush=True)
        sys.stdin.readline()

    def appending(self: Segments, segment: segments.Segment) -> None:
        wait()
        append(self, segment)

    def locking(path: Path) -> Any:
        wait()
        return lock(path)

    if where == "append":
        Segments.append = appending  # type: ignore[method-assign]
    else:
        runner.file_lock = locking
    write(store, DOCS[:2], VECTORS[:2])


def many(store: StoreRunner, me: int, count: int) -> None:
    for i in range(count):
        write(store, [Doc(f"text {i} of {me}", f"{me}.{i}")], VECTORS[:1])


def main(folder: str, what: str, *args: str) -> None:
    store = StoreRunner("default", Segments(Path(folder)))
    match what:
        case "crash":
            crash(store, int(args[0]))
        case "pause":
            pause(store, args[0])
        case "many":
            many(store, int(args[0]), int(args[1]))


main(*sys.argv[1:])
