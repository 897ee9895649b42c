"""Where documents come from: which of them a file, a folder or a pattern stands for.

A document that `tl.load` made says its file (`path`) and what led to it (`root`), both absolute.
Any other belongs to the `source` that its metadata names.
"""

import glob
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any


def root_of(given: str) -> str:
    """What a path, folder or pattern is called as a root: absolute, without links."""
    path = Path(given).expanduser()
    if path.is_dir():
        return path.resolve().as_posix()
    if path.exists() or not glob.has_magic(given):
        return (Path(os.path.abspath(path)).parent.resolve() / path.name).as_posix()
    base = base_of(path)
    return (base.resolve() / path.relative_to(base)).as_posix()


def base_of(pattern: Path) -> Path:
    """The folder that a pattern starts from."""
    parts = pattern.parts
    return Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])


def source_of(metadata: Mapping[str, Any]) -> str | None:
    """What a document would be indexed again from: its root, else its source."""
    found = metadata.get("root", metadata.get("source"))
    return found if isinstance(found, str) else None


def is_from(sources: Iterable[str]) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a document, by its metadata, comes from one of the sources.

    It does when its `source` is one, or its file is one, lies below one or matches one.
    """
    named = set(sources)
    roots = set(map(root_of, named))
    patterns = [root.split("/") for root in roots if glob.has_magic(root)]

    @cache  # a file has many documents
    def is_below(path: str) -> bool:
        above = [path, *(parent.as_posix() for parent in Path(path).parents)]
        is_matched = any(_matches(path.split("/"), pattern) for pattern in patterns)
        return is_matched or not roots.isdisjoint(above)

    def test(metadata: Mapping[str, Any]) -> bool:
        source, path = metadata.get("source"), metadata.get("path")
        is_named = isinstance(source, str) and source in named
        return is_named or (isinstance(path, str) and is_below(path))

    return test


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """As `glob.glob(recursive=True)` has it."""
    if not pattern:
        return not parts
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return any(_matches(parts[i:], rest) for i in range(len(parts) + 1))
    if not parts or (parts[0].startswith(".") and not first.startswith(".")):
        return False
    return fnmatchcase(parts[0], first) and _matches(parts[1:], rest)
