"""What lies in teola's cache folder, and who may write it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.models.cache import cache_folder


@dataclass(frozen=True, slots=True)
class Cache:
    path: Path
    num_files: int
    num_bytes: int
    mode: str  # as in 0700
    problem: str | None = None


def read_caches() -> list[Cache]:
    """The folders of the cache folder; none where there is nothing yet."""
    root = cache_folder()
    if not root.is_dir():
        return []
    return [_read(path) for path in sorted(root.iterdir()) if path.is_dir()]


def _read(path: Path) -> Cache:
    sizes = list(_sizes(path))
    found = path.stat()
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    return Cache(path, len(sizes), sum(sizes), mode, _problem(path, found))


def _sizes(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue  # removed meanwhile


def _problem(path: Path, found: os.stat_result) -> str | None:
    if os.name == "posix" and found.st_uid not in (os.getuid(), 0):
        return f"{path} belongs to user {found.st_uid}; set TEOLA_CACHE to a folder of your own"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write {path}; run: chmod go-w {path}"
    if not os.access(path, os.W_OK):
        return f"{path} cannot be written; set TEOLA_CACHE to a folder of your own"
    return None
