"""A heap of items whose keys may change and which may leave before their turn."""

from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MIN_TRIMMED = 64  # entries that are never too many


class Ranking(Generic[T]):
    """Items by key, the least first.

    An entry whose item left or has another key by now stays in the heap until it is the least, or
    until such entries are the most.
    """

    __slots__ = ("_heap", "_keys", "_num_put")

    def __init__(self) -> None:
        self._keys: dict[T, Any] = {}
        self._heap: list[tuple[Any, int, T]] = []
        self._num_put = 0  # keeps items from being compared

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, item: T) -> bool:
        return item in self._keys

    def put(self, item: T, key: Any) -> None:
        """Add an item, or give it another key."""
        keys = self._keys
        if keys.get(item) != key:
            keys[item] = key
            self._num_put = number = self._num_put + 1
            heappush(self._heap, (key, number, item))
            if len(self._heap) > 2 * len(self._keys) + MIN_TRIMMED:
                self._trim()

    def put_least(self, item: T, key: Any) -> None:
        """Add an item; one that is there keeps its key, if that is less."""
        old = self._keys.get(item)
        if old is None or key < old:
            self.put(item, key)

    def remove(self, item: T) -> None:
        del self._keys[item]
        if len(self._heap) > 2 * len(self._keys) + MIN_TRIMMED:
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
        del self._keys[item]
        return item

    def _trim(self) -> None:
        self._heap = [(key, n, item) for n, (item, key) in enumerate(self._keys.items())]
        heapify(self._heap)

    def _least(self) -> tuple[Any, int, T]:
        heap, keys = self._heap, self._keys
        while keys.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        return heap[0]
