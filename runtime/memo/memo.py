"""The memo of a runtime: memory, the folder behind it, contents of contexts, and work under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.memo.contexts import ContextContents
from runtime.memo.late_folder import LateFolder
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
    """Used on the event loop of the engines alone; the folder works on a thread of its own."""

    def __init__(
        self, memory: Memory, folder: LateFolder | None, contexts: ContextContents
    ) -> None:
        self.memory = memory
        self.folder = folder
        self.contexts = contexts
        self.pending: dict[bytes, Pending] = {}

    def look(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """What is in memory of these units."""
        found = ((key, self.memory.get(key)) for key in dict.fromkeys(keys))
        return {key: entry for key, entry in found if entry is not None}

    def keep(self, entries: Mapping[bytes, Entry], is_stable: bool = True) -> None:
        """Remember; beyond the process where the keys mean the same in another one."""
        for key, entry in entries.items():
            self.memory.put(key, entry)
        if self.folder is not None and is_stable and entries:
            self.folder.put({key: entry.value for key, entry in entries.items()})


def entries_of(values: Mapping[bytes, Any]) -> dict[bytes, Entry]:
    """Those of the values that can be shared, as they are remembered."""
    sizes = ((key, value, _size_of(value)) for key, value in values.items())
    return {key: Entry(shared(value), size) for key, value, size in sizes if size is not None}


def _size_of(value: Any) -> int | None:
    try:
        return size_of(value)
    except Exception:  # it holds itself, or has an unset field
        return None


def copies_of(entries: Mapping[bytes, Entry]) -> dict[bytes, Any]:
    """The values as one more holder gets them."""
    return {key: shared(entry.value) for key, entry in entries.items()}
