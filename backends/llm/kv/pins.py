"""Pinned contexts: their KV stays whatever else comes, until their release."""

from collections import deque
from collections.abc import Callable

from backends.errors import EngineOverloaded, RequestRejected
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.sequence.sequence import LLMContext


class Pins:
    """Pins take no more than their share of the pool, and leave room for what is here: `spared` are
    the pages that the largest request may need."""

    def __init__(
        self,
        cache: KVCache,
        released: deque[PageTable],
        pin_share: float,
        spared: Callable[[], int],
    ) -> None:
        self.num_pinned = 0  # pages
        self._cache = cache
        self._released = released
        self._max_pinned = int(cache.pool.num_pages * pin_share)
        self._spared = spared

    def pin(self, context: LLMContext) -> int:
        """Never evict what has KV now, until its release: how many tokens. Raises EngineOverloaded
        when pins would take more than their share, or what a request here may need."""
        table, cache = self._table(context), self._cache
        if not cache.idle.is_pinned(table):
            cache.revive(table, context.ids[:-1])
        pinned = len(cache.idle.pages_pinned() | set(table.pages))
        room = min(self._max_pinned, cache.pool.num_pages - self._spared())
        if pinned > room:
            raise EngineOverloaded(
                f"{pinned} pages would be pinned, and {room} may be now: release pinned contexts, "
                "or raise the option kv_tokens or pin_share"
            )
        cache.idle.pin(table)
        self.num_pinned = pinned
        return table.num_computed

    def free_released(self) -> None:
        """Drop the tables whose contexts are gone, and pins with them."""
        while self._released:
            table = self._released.popleft()
            was_pinned = self._cache.idle.is_pinned(table)
            self._cache.release(table)
            if was_pinned:
                self._count()

    def check_room(self, num_pages: int) -> None:
        """Raises EngineOverloaded for a request that pins leave no room for."""
        self.free_released()
        room = self._cache.pool.num_pages - self.num_pinned
        if self.num_pinned and num_pages > room:
            raise EngineOverloaded(
                f"the request needs {num_pages} pages and pinned contexts leave {room}: "
                "release some"
            )

    def check_integrity(self) -> None:
        assert self.num_pinned == len(self._cache.idle.pages_pinned()), "pins miscounted"
        assert self.num_pinned <= self._max_pinned, "more pinned than may be"

    def _table(self, context: object) -> PageTable:
        if not isinstance(context, LLMContext) or not context.is_of(self._released):
            raise RequestRejected(f"{context!r} is no context of this engine")
        self.free_released()
        if context.table.is_released:
            raise RequestRejected("the context was released: there is nothing to keep")
        return context.table

    def _count(self) -> None:
        self.num_pinned = len(self._cache.idle.pages_pinned())
