"""A heap of items whose keys may change and which may leave before their turn."""

from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Entry: TypeAlias = tuple[Any, int, T]  # key, number, item: the number keeps items uncompared

MIN_TRIMMED = 64  # entries that are never too many


class Ranking(Generic[T]):
    """Items by key, the least first.

    An entry whose item left or has another entry by now stays in the heap until it is the least, or
    until such entries are the most.
    """

    __slots__ = ("_entries", "_heap", "_num_put")

    def __init__(self) -> None:
        self._entries: dict[T, Entry[T]] = {}
        self._heap: list[Entry[T]] = []
        self._num_put = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: T) -> bool:
        return item in self._entries

    def put(self, item: T, key: Any) -> None:
        """Add an item, or give it another key."""
        entries, heap = self._entries, self._heap
        old = entries.get(item)
        if old is not None and old[0] == key:
            return
        self._num_put = number = self._num_put + 1
        entry = entries[item] = (key, number, item)
        heappush(heap, entry)
        if len(heap) > 2 * len(entries) + MIN_TRIMMED:
            self._trim()

    def put_least(self, item: T, key: Any) -> None:
        """Add an item; one that is there keeps its key, if that is less."""
        old = self._entries.get(item)
        if old is None or key < old[0]:
            self.put(item, key)

    def remove(self, item: T) -> None:
        del self._entries[item]
        if len(self._heap) > 2 * len(self._entries) + MIN_TRIMMED:
            self._trim()

    def first(self) -> T:
        """The item with the least key."""
        return self._least()[2]

    def first_key(self) -> Any:
        return self._least()[0]

    def pop(self) -> T:
        """Take the item with the least key out."""
        item = self._least()[2]
        heappop(self._heap)
        del self._entries[item]
        return item

    def _trim(self) -> None:
        self._heap = [*self._entries.values()]
        heapify(self._heap)

    def _least(self) -> Entry[T]:
        heap, entries = self._heap, self._entries
        while True:
            least = heap[0]
            if entries.get(least[2]) is least:
                return least
            heappop(heap)
