"""The memos of a runtime: one memory, and the folders that apps name."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from backends.models.cache import cache_folder
from runtime.memo.content import digest
from runtime.memo.contexts import ContextContents
from runtime.memo.folder import FORMAT, Folder
from runtime.memo.late_folder import LateFolder
from runtime.memo.memo import Memo
from runtime.memo.memory import Memory


def default_folder() -> Path:
    """Where `memo="disk"` remembers: `memo` in teola's cache folder."""
    return cache_folder() / "memo"


class Memos:
    """Made when first asked for; all folders share one memory."""

    def __init__(self) -> None:
        self.memory = Memory()
        self._contexts = ContextContents()
        self._by_folder: dict[Path | None, Memo] = {}

    def get(self, where: bool | str) -> Memo:
        """True: in memory alone; "disk": in teola's cache folder too; else a folder's path."""
        folder = _folder(where)
        if folder not in self._by_folder:
            made = None if folder is None else LateFolder(Folder(folder))
            self._by_folder[folder] = Memo(self.memory, made, self._contexts)
        return self._by_folder[folder]

    def clear(self) -> None:
        """Forget what is in memory."""
        self.memory.clear()

    def close(self) -> None:
        for memo in self._by_folder.values():
            if memo.folder is not None:
                memo.folder.close()


def _folder(where: bool | str) -> Path | None:
    if isinstance(where, bool):
        return None
    return default_folder() if where == "disk" else Path(where).expanduser().absolute()


@lru_cache(maxsize=256)
def owner_of(spec_key: str, model: str, salt: str | None) -> bytes:
    """Who runs a request and for whom: a part of every key. `model` is the fingerprint of what the
    engine loaded."""
    return digest(FORMAT, version("teola"), spec_key, model, salt)
