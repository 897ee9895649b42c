"""Cache directives of callers: pin, retain, expect, demote, prefetch."""

from collections import deque
from collections.abc import Callable

from backends.errors import EngineOverloaded, RequestRejected
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.kv.tiers.tier_transfer import TierTransfer
from backends.llm.sequence.sequence import LLMContext


class CacheDirectives:
    """A pin holds until unpin; the others are advice that ends with the context's next use. All end
    when the context is released. `transfer` is None without lower tiers; `spared` are the pages
    that the largest request now here may need."""

    def __init__(
        self,
        cache: KVCache,
        transfer: TierTransfer | None,
        released: deque[PageTable],
        pin_share: float,
        clock: Callable[[], float],
        spared: Callable[[], int],
    ) -> None:
        self.num_pinned = 0  # pages
        self._cache = cache
        self._transfer = transfer
        self._released = released
        self._max_pinned = int(cache.pool.num_pages * pin_share)
        self._clock = clock
        self._spared = spared

    def pin(self, context: LLMContext) -> int:
        """Never evict what has KV now, until `unpin`: how many tokens. Raises EngineOverloaded
        when pins would take more than their share, or what a request here may need."""
        table, cache = self._table(context), self._cache
        if not cache.idle.is_pinned(table):
            cache.revive(table, context.ids[:-1])
        pinned = len(cache.idle.pages_pinned() | set(table.pages))
        room = min(self._max_pinned, cache.pool.num_pages - self._spared())
        if pinned > room:
            raise EngineOverloaded(
                f"{pinned} pages would be pinned, and {room} may be now: unpin other contexts, or "
                "raise the option kv_tokens or pin_share"
            )
        cache.idle.pin(table)
        self.num_pinned = pinned
        return table.num_computed

    def unpin(self, context: LLMContext) -> None:
        self._cache.idle.unpin(self._table(context))
        self._count()

    def retain(self, context: LLMContext, seconds: float) -> None:
        """Others lose their pages first, until its next use or for the time."""
        table = self._table(context)
        if table in self._cache.idle:
            self._cache.idle.retain(table, self._clock() + seconds)

    def expect(self, context: LLMContext, next_use: float) -> None:
        """When it will be used next, on any scale; the policy `next_use` evicts the latest."""
        table = self._table(context)
        if table in self._cache.idle:
            self._cache.idle.expect(table, next_use)

    def demote(self, context: LLMContext) -> None:
        """Not needed for a while: copied to a lower tier, and the first to go. A pin stays."""
        table, cache = self._table(context), self._cache
        if table not in cache.idle or cache.idle.is_pinned(table):
            return
        node = table.node
        cache.swap_out(table)
        if node is not None:
            cache.tree.demote(node)

    def prefetch(self, context: LLMContext) -> int:
        """Bring back what the tree or a lower tier has of it: how many tokens will have KV."""
        table, ids = self._table(context), context.ids[:-1]
        if self._cache.idle.is_pinned(table):
            return table.num_computed
        self._cache.revive(table, ids)
        if self._transfer is None:
            return table.num_computed
        return self._transfer.prefetch(table, ids)

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
        room = self._cache.pool.num_pages - self.num_pinned
        if self.num_pinned and num_pages > room:
            raise EngineOverloaded(
                f"the request needs {num_pages} pages and pinned contexts leave {room}: unpin some"
            )

    def check_integrity(self) -> None:
        assert self.num_pinned == len(self._cache.idle.pages_pinned()), "pins miscounted"
        assert self.num_pinned <= self._max_pinned, "more pinned than may be"

    def _table(self, context: object) -> PageTable:
        if not isinstance(context, LLMContext) or not context.is_of(self._released):
            raise RequestRejected(f"{context!r} is no context of this engine")
        self.free_released()
        if context.table.is_released:
            raise RequestRejected("the context was released: there is nothing to keep or to bring")
        return context.table

    def _count(self) -> None:
        self.num_pinned = len(self._cache.idle.pages_pinned())
