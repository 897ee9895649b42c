"""Which pages of prompts are in the pool: whole pages, found by what they and all before them hold.

Pages of sequences that run are locked. The others are evicted, the longest unused first; of one
prefix the last page goes first.
"""

from collections import OrderedDict
from collections.abc import Sequence


def page_keys(text: str, page_chars: int, before: tuple[int, ...] = ()) -> tuple[int, ...]:
    """A key for each whole page of a text; `before` are those of a text that it begins with."""
    keys = list(before)
    last = keys[-1] if keys else 0
    for start in range(len(keys) * page_chars, len(text) - page_chars + 1, page_chars):
        last = hash((last, text[start : start + page_chars]))
        keys.append(last)
    return tuple(keys)


class Prefixes:
    """Counts pages; the pool's size is its owner's matter."""

    def __init__(self) -> None:
        self._locks: dict[int, int] = {}  # sequences, by key; locked pages alone
        self._unused: OrderedDict[int, None] = OrderedDict()  # the longest unused first

    @property
    def num_locked(self) -> int:
        return len(self._locks)

    @property
    def num_pages(self) -> int:
        return len(self._locks) + len(self._unused)

    def match(self, keys: Sequence[int]) -> int:
        """How many pages at the beginning are there."""
        for number, key in enumerate(keys):
            if key not in self._locks and key not in self._unused:
                return number
        return len(keys)

    def lock(self, keys: Sequence[int]) -> None:
        """These pages are there now, and stay."""
        for key in keys:
            count = self._locks.get(key, 0)
            if not count:
                self._unused.pop(key, None)
            self._locks[key] = count + 1

    def unlock(self, keys: Sequence[int]) -> None:
        for key in reversed(keys):
            count = self._locks[key] - 1
            if count:
                self._locks[key] = count
            else:
                del self._locks[key]
                self._unused[key] = None

    def evict(self, num_pages: int) -> None:
        """At most so many."""
        for _ in range(min(num_pages, len(self._unused))):
            self._unused.popitem(last=False)
