"""Items kept in the order of their keys: a change costs a binary search."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SortedItems(Generic[T]):
    """Items by key, the least first; no two keys are equal."""

    __slots__ = ("_entries", "_keys")

    def __init__(self) -> None:
        self._keys: dict[T, Any] = {}
        self._entries: list[tuple[Any, T]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        return (item for _, item in self._entries)

    def __getitem__(self, index: int) -> T:
        return self._entries[index][1]

    def __contains__(self, item: T) -> bool:
        return item in self._keys

    def key(self, item: T) -> Any:
        """The key that the item was put with."""
        return self._keys[item]

    def index(self, item: T) -> int:
        """How many items go before it."""
        return bisect_left(self._entries, (self._keys[item],))

    def put(self, item: T, key: Any) -> None:
        """Add an item, or give it another key."""
        if item in self._keys:
            if self._keys[item] == key:
                return
            self.remove(item)
        self._keys[item] = key
        insort(self._entries, (key, item))

    def remove(self, item: T) -> None:
        """Take an item out."""
        del self._entries[self.index(item)]
        del self._keys[item]
