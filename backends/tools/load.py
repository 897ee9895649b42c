"""Files to documents: text, Markdown, HTML, PDF, JSON lines; files, folders and glob patterns."""

import glob
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.documents import Doc
from backends.errors import DocumentError
from backends.tools.readers import Part, read_html, read_jsonl, read_markdown, read_pdf, read_text

Reader = Callable[[Path], Iterator[Part]]

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
    ".jsonl.gz": read_jsonl,
}


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    name: str  # what its documents are called after: relative to what the user named


def load(paths: Sequence[str]) -> list[Doc]:
    """The documents of files, folders (all known files in them, sorted) and glob patterns.

    A PDF gives a document a page, JSON lines one a line, every other file one. Ids are
    `NAME#PART`, the name relative to the folder or pattern given, so they stay the same when the
    files move together. Metadata has `source` and `title`. Raises DocumentError.
    """
    if isinstance(paths, str):
        raise DocumentError(f"load takes a list of paths; write [{paths!r}]")
    files: dict[Path, _File] = {}  # by real path: a file named twice is read once
    for path in paths:
        for file in _expand(str(path)):
            files.setdefault(file.path.resolve(), file)
    names = Counter(file.name for file in files.values())
    return [
        doc
        for file in files.values()
        for doc in _read(file, file.name if names[file.name] == 1 else file.path.as_posix())
    ]


def _expand(given: str) -> Iterator[_File]:
    path = Path(given).expanduser()
    if path.is_dir():
        for found in sorted(path.rglob("*")):
            if found.is_file() and _reader(found) is not None:
                yield _File(found, f"{path.resolve().name}/{found.relative_to(path).as_posix()}")
    elif path.is_file():
        yield _File(path, path.name)
    elif glob.has_magic(given):
        yield from _expand_pattern(given, str(path))
    else:
        raise DocumentError(f"there is no file or folder {given!r}")


def _expand_pattern(given: str, pattern: str) -> Iterator[_File]:
    matches = sorted(filter(Path.is_file, map(Path, glob.glob(pattern, recursive=True))))
    if not matches:
        raise DocumentError(f"no file matches {given!r}")
    parts = Path(pattern).parts
    base = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
    for match in matches:
        yield _File(match, match.relative_to(base).as_posix())


def _reader(path: Path) -> Reader | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return READERS.get("".join(suffixes[-2:])) or READERS.get("".join(suffixes[-1:]))


def _read(file: _File, name: str) -> Iterator[Doc]:
    reader = _reader(file.path)
    if reader is None:
        raise DocumentError(
            f"{file.path}: cannot read this kind of file; supported: {', '.join(sorted(READERS))}"
        )
    try:
        for part in reader(file.path):
            metadata = {"source": str(file.path), "title": part.title or file.path.stem}
            yield Doc(part.text, f"{name}#{part.name}", metadata={**part.metadata, **metadata})
    except OSError as error:
        raise DocumentError(f"{file.path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{file.path}: is not UTF-8 text ({error.reason})") from error
