"""A folder of libraries that only this user, or root, can have written.

Loading a library runs it, and a shared `TEOLA_CACHE` lets others put files where ours are looked
for. So the folder and the file are opened first, and their owner and mode are checked on what was
opened, as is the digest that stands in the file's name. What was checked is what is loaded: the
library comes from the open file and not from its path, so whoever may rename a folder above gains
nothing.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

_LOCK = ".lock"  # one byte a library
_KEPT_OF_A_SET = 4  # libraries: of this source, and of some before it or beside it


class Distrusted(Exception):
    """Names the file or folder, what is wrong with it, and what to do."""


class PrivateFolder:
    """Made with mode 0700 where it is missing. Raises Distrusted, and OSError."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._fd = _open_folder(path)
        try:
            _check_owner(os.fstat(self._fd), path)
        except Distrusted:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> "PrivateFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def locked(self, stem: str) -> Iterator[None]:
        """Other processes that want `stem` wait: what one compiles the next finds."""
        byte = int.from_bytes(hashlib.sha256(stem.encode()).digest()[:4]) // 2
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        fd = os.open(_LOCK, flags, 0o600, dir_fd=self._fd)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.lockf(fd, fcntl.LOCK_EX, 1, byte)
            yield
        finally:
            os.close(fd)  # which unlocks

    def find(self, stem: str) -> tuple[Path, ctypes.CDLL] | None:
        """The library that was stored as `stem`, loaded. One that is cut or changed is removed.
        Raises Distrusted, and OSError where nothing may be run."""
        for name in sorted(os.listdir(self._fd)):
            if not (name.startswith(f"{stem}-") and name.endswith(".so")):
                continue
            digest = name.removesuffix(".so").rpartition("-")[2]
            library = load_checked(self.path / name, digest, self._fd)
            if library is not None:
                return self.path / name, library
            os.unlink(name, dir_fd=self._fd)
        return None

    def store(self, stem: str, content: bytes) -> None:
        """At once and whole, whoever else stores the same."""
        name = f"{stem}-{hashlib.sha256(content).hexdigest()}.so"
        new = f".{secrets.token_hex(8)}"
        made = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._fd)
        try:
            with open(made, "wb") as file:
                file.write(content)
            os.rename(new, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            os.unlink(new, dir_fd=self._fd)
            raise
        self._forget_old(stem.partition("-")[0])

    def _forget_old(self, isa: str) -> None:
        names = [name for name in os.listdir(self._fd) if name.startswith(f"{isa}-")]
        names.sort(key=lambda name: os.stat(name, dir_fd=self._fd).st_mtime_ns)
        for name in names[:-_KEPT_OF_A_SET]:
            os.unlink(name, dir_fd=self._fd)


def load_checked(
    path: Path, digest: str, folder: int | None = None, is_ours: bool = True
) -> ctypes.CDLL | None:
    """The library at `path`, in the open folder `folder` where one is given; None when its SHA-256
    is not `digest`. `is_ours`: it must also be this user's. Raises Distrusted and OSError."""
    where = path if folder is None else path.name
    try:
        fd = os.open(where, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if path.is_symlink():
            raise Distrusted(f"{path} is a symbolic link; remove it") from error
        raise
    try:
        if is_ours:
            _check_owner(os.fstat(fd), path)
        with open(fd, "rb", closefd=False) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                os.close(fd)
                return None
        return ctypes.CDLL(_open_file(fd, path))
    except (Distrusted, OSError):
        os.close(fd)
        raise


def _open_file(fd: int, path: Path) -> str:
    """A name of what is open. `fd` stays open: the loader takes an equal name for the same file."""
    name = f"/proc/self/fd/{fd}"
    return name if os.path.exists(name) else str(path)


def _open_folder(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if path.is_symlink():
            raise Distrusted(f"{path} is a symbolic link; remove it") from error
        raise


def _check_owner(found: os.stat_result, path: Path) -> None:
    if found.st_uid not in (os.getuid(), 0):
        raise Distrusted(
            f"{path} belongs to user {found.st_uid} and not to you (user {os.getuid()}); "
            "remove it or set TEOLA_CACHE to a folder of your own"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise Distrusted(
            f"others may write {path} (mode {mode:04o}); remove it, or look whether it is yours "
            f"and run: chmod go-w {path}"
        )
