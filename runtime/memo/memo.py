"""The memo of a runtime: memory, the folder behind it, contents of contexts, and work under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.memo.contexts import ContextContents
from runtime.memo.folder import Folder
from runtime.memo.memory import Entry, Memory
from runtime.memo.sharing import shared, size_of

FAILED: Any = object()  # for waiters on work that ended without a value to share


@dataclass(slots=True, eq=False)
class Pending:
    """A unit that is under way, and who waits for it."""

    on_left: Callable[[], None]  # nobody waits any more
    waiters: list[Callable[[bytes, Any], None]] = field(default_factory=list)
    emits: list[Callable[[str], None]] = field(default_factory=list)
    text: str = ""  # of a decode, so far

    def join(self, tell: Callable[[bytes, Any], None], emit: Callable[[str], None] | None) -> None:
        """Wait for it too; of a text, what there is comes at once."""
        self.waiters.append(tell)
        if emit is not None:
            self.emits.append(emit)
            if self.text:
                emit(self.text)

    def leave(self, tell: Callable[[bytes, Any], None]) -> None:
        """Wait for it no more."""
        if tell in self.waiters:
            self.waiters.remove(tell)
        if not self.waiters:
            self.on_left()

    def emit(self, text: str) -> None:
        """More of the text is there."""
        self.text += text
        for emit in self.emits:
            emit(text)

    def tell(self, key: bytes, value: Any) -> None:
        """It ended; with FAILED, whoever waits does the work itself."""
        for tell in list(self.waiters):
            tell(key, value)


class Memo:
    """Used on the event loop of the engines alone."""

    def __init__(self, memory: Memory, folder: Folder | None, contexts: ContextContents) -> None:
        self.memory = memory
        self.folder = folder
        self.contexts = contexts
        self.pending: dict[bytes, Pending] = {}

    def get_many(self, keys: Sequence[bytes], is_stable: bool = True) -> dict[bytes, Any]:
        """What is remembered of these units."""
        found: dict[bytes, Any] = {}
        missing: list[bytes] = []
        for key in dict.fromkeys(keys):
            entry = self.memory.get(key)
            if entry is None:
                missing.append(key)
            else:
                found[key] = shared(entry.value)
        if missing and self.folder is not None and is_stable:
            kept = self.folder.get_many(missing)
            for key, value in kept.items():
                self._keep(key, value)
            found.update(kept)
        return found

    def put_many(self, values: Mapping[bytes, Any], is_stable: bool = True) -> dict[bytes, Any]:
        """Remember the values that can be shared; those, of which each who wants one takes a
        copy with `shared`."""
        entries = {key: self._keep(key, value) for key, value in values.items()}
        kept = {key: entry.value for key, entry in entries.items() if entry is not None}
        if self.folder is not None and is_stable:
            self.folder.put_many(kept)
        return kept

    def _keep(self, key: bytes, value: Any) -> Entry | None:
        size = size_of(value)
        if size is None:
            return None
        entry = Entry(shared(value), size)
        self.memory.put(key, entry)
        return entry
