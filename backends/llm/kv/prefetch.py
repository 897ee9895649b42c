"""Brings back from lower tiers what contexts lost, before they are read (KVFlow, arXiv 2507.07400).

    told: read in 6 s ──── pages go ──── lead ──── read
                                          └─ load what is gone

The lead is a share of the time that was told, since that is a guess, and the time of the load. A
prefetch takes no pages of contexts that are read before its own. Where that leaves no room, and for
what is lost again, it looks again in half of the time that is left each time.
"""

import heapq
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary, ref

from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import Load
from backends.llm.kv.tiers.tier_transfer import TierTransfer
from backends.llm.sequence.sequence import LLMContext

LEAST_LEAD_S = 0.1
LEAD = 0.1  # of the time that was told
LOADS = 2  # times that a load is expected to take
FIRST_PAGE_S = 1e-3  # to load a page, before the first
_SLACK = 64


class _Turn(NamedTuple):
    """When to look at a context."""

    at_s: float
    number: int
    context: ref[LLMContext]
    due_s: float


class _Fetch(NamedTuple):
    context: ref[LLMContext]
    load: Load
    begun_s: float


class Prefetch:
    """Of one engine, on its thread; `clock` is the engine's."""

    def __init__(self, cache: KVCache, transfer: TierTransfer, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._transfer = transfer
        self._clock = clock
        self._due: WeakKeyDictionary[LLMContext, float] = WeakKeyDictionary()
        self._turns: list[_Turn] = []
        self._num_turns = 0
        self._fetches: list[_Fetch] = []
        self._page_s = FIRST_PAGE_S

    @property
    def next_s(self) -> float | None:
        """Seconds until it has something to do; None: nothing to do."""
        return max(0.0, self._turns[0].at_s - self._clock()) if self._turns else None

    def expect(self, context: LLMContext) -> None:
        """It was told when this one is read."""
        now_s, due_s = self._clock(), context.table.due_s
        num_pages = self._cache.pool.pages_for(context.num_tokens)
        lead_s = max(LEAST_LEAD_S, LEAD * (due_s - now_s)) + LOADS * num_pages * self._page_s
        self._due[context] = due_s
        self._look_at(max(now_s, due_s - lead_s), ref(context), due_s)

    def poll(self) -> None:
        """Begin the loads that are due, and give contexts what was loaded. Before each step, after
        the transfer's own."""
        self._take_loaded()
        now_s = self._clock()
        while self._turns and self._turns[0].at_s <= now_s:
            turn = heapq.heappop(self._turns)
            context = turn.context()
            if context is not None and self._counts(turn):
                self._begin(context, turn, now_s)

    def _begin(self, context: LLMContext, turn: _Turn, now_s: float) -> None:
        table, ids, left_s = context.table, context.ids[:-1], turn.due_s - now_s
        if not self._may_grow(context):
            return
        if left_s > LEAST_LEAD_S:
            self._look_at(now_s + left_s / 2, turn.context, turn.due_s)
        if self._cache.has_pages(table, len(ids)):
            return
        self._cache.revive(table, ids)
        load = self._transfer.load_rest(self._cache, table, ids, spared_s=max(0.0, left_s))
        if load is not None and all(fetch.load is not load for fetch in self._fetches):
            self._fetches.append(_Fetch(turn.context, load, now_s))

    def _take_loaded(self) -> None:
        here = [fetch for fetch in self._fetches if fetch.load.is_taken]
        if here:
            self._fetches = [fetch for fetch in self._fetches if not fetch.load.is_taken]
        for context, load, begun_s in here:
            self._note_time(load, self._clock() - begun_s)
            held = context()
            if held is not None and self._may_grow(held):
                self._cache.revive(held.table, held.ids[:-1])
                self._cache.stats.prefetched_pages += load.num_pages

    def _may_grow(self, context: LLMContext) -> bool:
        """A pinned one has what it had when it was pinned: pins are counted."""
        table = context.table
        is_pinned = self._cache.idle.is_pinned(table)
        return not (table.is_released or table.is_private or is_pinned)

    def _note_time(self, load: Load, took_s: float) -> None:
        if load.num_pages:
            self._page_s += (took_s / load.num_pages - self._page_s) / 4

    def _look_at(self, at_s: float, context: ref[LLMContext], due_s: float) -> None:
        self._num_turns += 1
        heapq.heappush(self._turns, _Turn(at_s, self._num_turns, context, due_s))
        if len(self._turns) > 2 * len(self._due) + _SLACK:
            self._turns = [turn for turn in self._turns if self._counts(turn)]
            heapq.heapify(self._turns)

    def _counts(self, turn: _Turn) -> bool:
        context = turn.context()
        return context is not None and self._due.get(context) == turn.due_s
