"""The folder that processes share for KV: one lock, one secret, one bound for all that lies in it.

    kv/.lock  .secret  .bytes           0600
    kv/kv-MODEL-VERSION/PAGE.kv         folders 0700, files 0600

A process that writes counts the bytes in `.bytes` under the lock. When they pass the bound it looks
at what is really there, removes the pages used longest ago (by their time of change), of whichever
model, and writes the true sum. Pages of another version of the kernels, which an upgrade leaves
behind, are removed when the folder is opened.
"""

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from backends.file_lock import file_lock

SUFFIX = ".kv"
_SECRET_BYTES = 32
_OWN = re.compile(r"kv-[0-9a-f]{16}(-[0-9a-f]{16})?")
_SLACK = 32  # of the bound is freed at once, so that not each page looks at the whole folder


class Page(NamedTuple):
    """A file, by which one goes first."""

    used_ns: int
    path: Path
    num_bytes: int


class KVFolder:
    """`root` is the user's; `folder` inside it is of one model in one form, by one version of the
    kernels. Raises OSError."""

    def __init__(self, root: Path, model: str, version: str, max_bytes: int) -> None:
        """`model` and `version` are 16 hex digits each."""
        self.root = root
        self.folder = root / f"kv-{model}-{version}"
        self.max_bytes = max_bytes
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.locked():
            self.secret = self._read_secret()
            self._drop_other_versions(model)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self.folder.chmod(0o700)
            self.make_room(0)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time writes or removes."""
        path = self.root / ".lock"
        path.touch(mode=0o600, exist_ok=True)
        with file_lock(path):
            yield

    def take(self, num_bytes: int) -> set[Path]:
        """Count a page that is written next, and make room for it; what was removed for that. Under
        the lock."""
        total = self._counted() + num_bytes
        if total <= self.max_bytes:
            self._count(total)
            return set()
        return self.make_room(num_bytes)

    def give_back(self, num_bytes: int) -> None:
        """A page was removed, or not written after all. Under the lock."""
        self._count(max(0, self._counted() - num_bytes))

    def make_room(self, num_bytes: int) -> set[Path]:
        """Remove what was used longest ago until so much fits; count what is there then. Under the
        lock."""
        pages = sorted(self._pages())
        total = num_bytes + sum(page.num_bytes for page in pages)
        removed: set[Path] = set()
        if total > self.max_bytes:
            page_bytes = max(page.num_bytes for page in pages) if pages else 1
            most = self.max_bytes - self.max_bytes // _SLACK // page_bytes * page_bytes
            for page in pages:
                if total <= most:
                    break
                page.path.unlink(missing_ok=True)
                total -= page.num_bytes
                removed.add(page.path)
        self._count(total)
        return removed

    @property
    def num_bytes(self) -> int:
        """What is really there, of all models."""
        return sum(page.num_bytes for page in self._pages())

    def _pages(self) -> Iterator[Page]:
        for folder in self.root.iterdir():
            if _OWN.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
                yield from _pages_in(folder)

    def _read_secret(self) -> bytes:
        """Made anew where others may have read it; what lies there is then not found again."""
        path = self.root / ".secret"
        with contextlib.suppress(OSError):
            stat = path.lstat()
            is_ours = stat.st_uid == os.getuid() if hasattr(os, "getuid") else True
            if is_ours and not stat.st_mode & 0o077 and stat.st_size == _SECRET_BYTES:
                return path.read_bytes()
        secret = secrets.token_bytes(_SECRET_BYTES)
        _write_private(path, secret)
        return secret

    def _drop_other_versions(self, model: str) -> None:
        for folder in self.root.iterdir():
            name = folder.name
            is_stale = name.startswith(f"kv-{model}-") or len(name) == len("kv-") + 16
            if _OWN.fullmatch(name) and is_stale and folder != self.folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _counted(self) -> int:
        try:
            return int((self.root / ".bytes").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return self.max_bytes + 1  # not known: look

    def _count(self, num_bytes: int) -> None:
        _write_private(self.root / ".bytes", str(num_bytes).encode())


def _pages_in(folder: Path) -> Iterator[Page]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # removed meanwhile
    for entry in entries:
        if entry.name.endswith(SUFFIX):
            with contextlib.suppress(OSError):
                stat = entry.stat(follow_symlinks=False)
                yield Page(stat.st_mtime_ns, Path(entry.path), stat.st_size)


def _write_private(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    unfinished.replace(path)
