"""Tells a model on the disk from another one that was put in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backends.registry import EngineSpec
from backends.url_options import instances_in, without_options


def fingerprint(url: str) -> str:
    """Of a model given by its path: sizes of its files and when they were last changed."""
    urls = [without_options(one).removeprefix("process:") for one in instances_in(url)]
    return "".join(part for one in urls for part in _of_path(one.partition(":")[2]))


def fingerprint_of(spec: EngineSpec) -> str:
    """Of an engine's model, and of files that its options name."""
    return "".join([fingerprint(spec.url), *_of_options(spec.options)])


def _of_options(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _of_options(item)
    elif isinstance(value, (str, Path)):
        yield from _of_path(str(value))


def _of_path(path: str) -> Iterator[str]:
    if "/" not in path:  # of the catalogue, which names a revision
        return
    try:
        found = Path(path).expanduser()
        files = sorted(found.iterdir()) if found.is_dir() else [found]
        for file in files:
            stat = file.stat()
            yield f"{file.name} {stat.st_mtime_ns} {stat.st_size};"
    except (OSError, ValueError):  # no path after all
        return
