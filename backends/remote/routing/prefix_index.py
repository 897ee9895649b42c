"""What the prefix cache of one endpoint holds, as far as requests and answers tell.

Least recently used pages go first. A page counts once the prompt that brings it is computed, on a
server that shares work in flight at once.
"""

from collections import OrderedDict
from collections.abc import Sequence

MAX_PAGES = 1 << 16
GROWN = 1.02
KEPT = 0.9  # of the pages, when the endpoint is found to hold fewer


class PrefixIndex:
    """Pages by their key; of equal prefixes the first pages are used last, so tails go first."""

    def __init__(self, *, shares_in_flight: bool, max_pages: int = MAX_PAGES) -> None:
        self._shares_in_flight = shares_in_flight
        self._most_pages = self._max_pages = max_pages
        self._pages: OrderedDict[int, bool] = OrderedDict()  # key -> whether it counts

    def __len__(self) -> int:
        return len(self._pages)

    def match(self, keys: Sequence[int]) -> int:
        """How many of the first pages the endpoint holds."""
        pages = self._pages
        return next((i for i, key in enumerate(keys) if not pages.get(key)), len(keys))

    def sent(self, keys: Sequence[int]) -> None:
        """A prompt is on its way there."""
        pages = self._pages
        for key in reversed(keys):
            if key in pages:
                pages.move_to_end(key)
            else:
                pages[key] = self._shares_in_flight
        self._trim()

    def computed(self, keys: Sequence[int]) -> None:
        """The endpoint has computed the prompt."""
        for key in keys:
            if key in self._pages:
                self._pages[key] = True

    def lost(self, keys: Sequence[int]) -> None:
        """These pages were not there."""
        for key in keys:
            self._pages.pop(key, None)

    def shrink(self) -> None:
        """The endpoint holds less than this index: forget what was used least recently."""
        self._max_pages = max(1, int(KEPT * len(self._pages)))
        self._trim()

    def grow(self) -> None:
        """The endpoint held what this index says: it may hold more."""
        self._max_pages = min(self._most_pages, int(self._max_pages * GROWN) + 1)

    def clear(self) -> None:
        """The endpoint was started anew, or its cache was flushed."""
        self._pages.clear()

    def _trim(self) -> None:
        while len(self._pages) > self._max_pages:
            self._pages.popitem(last=False)
