"""Files to documents: text, Markdown, HTML, PDF, JSON lines; files, folders and glob patterns."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from backends.documents import Doc
from backends.errors import DocumentError, RequestRejected
from backends.tools.file_memory import FileMemory
from backends.tools.files import File, find_files
from backends.tools.readers import (
    Part,
    read_html,
    read_jsonl,
    read_markdown,
    read_packed_jsonl,
    read_pdf,
    read_text,
)

OnError = Literal["raise", "skip"]
Reader = Callable[[bytes], Iterator[Part]]

READERS: dict[str, Reader] = {
    ".txt": read_text,
    ".text": read_text,
    ".rst": read_text,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".pdf": read_pdf,
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_packed_jsonl,
}
_HOW_TO_SKIP = 'repair it, or leave such files out with tl.load(..., on_error="skip")'

_memory = FileMemory()
_log = logging.getLogger(__name__)


def load(paths: Sequence[str], on_error: OnError = "raise") -> list[Doc]:
    """The documents of files, folders (all known files in them, sorted) and glob patterns.

    A PDF gives a document a page, JSON lines one a line, every other file one. Ids are
    `NAME~DIGEST#PART`, the digest one of the file's whole path: the same however the file was
    reached, on every machine where it lies at that path, and different for all other files.
    Metadata has `source` (the path as it was named), `title`, `path` (absolute) and `root`: what
    was named, absolute, a file, folder or pattern.

    A file that cannot be read raises DocumentError, or with `on_error="skip"` is left out with a
    warning in the log; a path that leads nowhere always raises. A file that did not change since
    it was last read is not read again.
    """
    if on_error not in get_args(OnError):
        known = " or ".join(map(repr, get_args(OnError)))
        raise RequestRejected(f"on_error is {known}, not {on_error!r}")
    docs: list[Doc] = []
    for file in find_files(paths, lambda path: _reader(path) is not None):
        try:
            docs += _documents(file)
        except DocumentError as error:
            if on_error == "raise":
                raise DocumentError(f"{error}; {_HOW_TO_SKIP}") from error
            _log.warning("skipped %s", error)
    return docs


def fingerprint(paths: Sequence[str]) -> str:
    """Equal as long as `load` would give the same documents; reads only files that changed.

    Raises DocumentError for a path that leads nowhere.
    """
    total = hashlib.sha256()
    for file in find_files(paths, lambda path: _reader(path) is not None):
        try:
            digest = _memory.digest(file.path)
        except OSError as error:
            digest = str(error.strerror)
        total.update(repr((str(file.path), file.place, file.root, digest)).encode())
    return total.hexdigest()


def _reader(path: Path) -> Reader | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return READERS.get("".join(suffixes[-2:])) or READERS.get("".join(suffixes[-1:]))


def _documents(file: File) -> Iterator[Doc]:
    name = file.name
    own = {"source": str(file.path), "path": file.place, "root": file.root}
    for part in _parts(file.path):
        metadata = {**part.metadata, **own, "title": part.title or file.path.stem}
        yield Doc(part.text, f"{name}#{part.name}", metadata=metadata)


def _parts(path: Path) -> tuple[Part, ...]:
    reader = _reader(path)
    if reader is None:
        raise DocumentError(
            f"{path}: cannot read this kind of file; supported: {', '.join(sorted(READERS))}"
        )
    try:
        return _memory.parts(path, reader)
    except DocumentError as error:
        raise DocumentError(f"{path}: {error}") from error
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text (byte {error.start}: {error.reason})"
        raise DocumentError(f"{path}: {problem}") from error
