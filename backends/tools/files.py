"""Which files the user means: paths, folders (all known files in them), glob patterns."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from backends.errors import DocumentError
from backends.sources import base_of, root_of


@dataclass(frozen=True, slots=True)
class File:
    """A file that was found."""

    path: Path  # as it is shown: below what the user named
    real: str  # absolute, without links
    place: str  # absolute: the root itself, or below it
    root: str  # what the user named, absolute: this file, a folder or a pattern

    @property
    def name(self) -> str:
        """What its documents are called after: its own name and a digest of its whole real path.

        So it is the same however the file was reached, and no other file of this machine has it.
        """
        digest = sha256(os.fsencode(Path(self.real).as_posix())).hexdigest()
        return f"{os.path.basename(self.real)}~{digest[:12]}"


def find_files(paths: Sequence[str], is_known: Callable[[Path], bool]) -> list[File]:
    """The files meant, in order; one that is named twice counts once. Raises DocumentError."""
    if isinstance(paths, str):
        raise DocumentError(f"load takes a list of paths; write [{paths!r}]")
    found: dict[str, File] = {}
    for path in paths:
        for file in _expand(str(path), is_known):
            found.setdefault(file.real, file)
    return list(found.values())


def _expand(given: str, is_known: Callable[[Path], bool]) -> Iterator[File]:
    path, root = Path(given).expanduser(), root_of(given)
    if path.is_dir():
        known = (found for found in sorted(path.rglob("*")) if found.is_file() and is_known(found))
        yield from _below(path, known, root)
    elif path.is_file():
        yield File(path, os.path.realpath(path), root, root)
    elif glob.has_magic(given):
        matches = sorted(filter(Path.is_file, map(Path, glob.glob(str(path), recursive=True))))
        if not matches:
            raise DocumentError(f"no file matches {given!r}")
        yield from _below(base_of(path), matches, root)
    else:
        raise DocumentError(f"there is no file or folder {given!r}")


def _below(base: Path, found: Iterable[Path], root: str) -> Iterator[File]:
    folder = base.resolve()
    for path in found:
        place = (folder / path.relative_to(base)).as_posix()
        yield File(path, os.path.realpath(path), place, root)
