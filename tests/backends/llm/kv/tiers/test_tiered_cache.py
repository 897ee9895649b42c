"""The whole cache over a pool that remembers what was written where, with tiers and without.

Random tables are matched, computed, forked, cut, kept, hinted at, evicted, saved and loaded; after
every action each of them must still read the KV of exactly its own tokens.
"""

import tempfile
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from backends.errors import EngineOverloaded
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import Namespace, PageTable
from backends.llm.kv.pins import Pins
from backends.llm.kv.tiers.disk import DiskTier
from backends.llm.kv.tiers.host import HostTier
from backends.llm.kv.tiers.kv_folder import KVFolder
from backends.llm.kv.tiers.page_codec import Raw
from backends.llm.kv.tiers.page_key import PageKeys
from backends.llm.kv.tiers.tier_transfer import LowerTierIndex, TierTransfer
from backends.llm.kv.tiers.transfer_worker import TransferWorker
from backends.llm.sequence.sequence import LLMContext
from backends.llm.stats import CacheStats

PAGE = 2
NUM_PAGES = 12
UNWRITTEN = -1
ANNA, ADAPTED = Namespace(salt="anna"), Namespace(adapter="a1")
SPACES = st.sampled_from([Namespace(), Namespace(), Namespace(), ANNA, ADAPTED])
PROMPTS = ([0] * 16, [0] * 8 + [1] * 8, [1] * 16)  # few, so that they come again
TOKENS = st.builds(lambda ids, n: ids[:n], st.sampled_from(PROMPTS), st.integers(4, 13))


class FakeKV:
    """PagedKV without a model: the KV of a token is a number made of all tokens up to it."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        self.page_size = page_size
        self.slots = np.full((num_pages, page_size), UNWRITTEN, np.int64)

    def write(self, pages: list[int], namespace: Namespace, ids: list[int], start: int) -> None:
        for at in range(start, len(ids)):
            page, slot = pages[at // self.page_size], at % self.page_size
            self.slots[page, slot] = meaning(namespace, ids[: at + 1])

    def check(self, pages: list[int], namespace: Namespace, ids: list[int]) -> None:
        """All of `ids` must be readable."""
        for at in range(len(ids)):
            found = self.slots[pages[at // self.page_size], at % self.page_size]
            assert found == meaning(namespace, ids[: at + 1]), f"token {at} has other KV"

    def copy_page(self, source: int, target: int) -> None:
        self.slots[target] = self.slots[source]

    def export_pages(self, pages: list[int]) -> Tensor:
        assert (self.slots[pages] != UNWRITTEN).all(), "an unwritten page is exported"
        return torch.from_numpy(self.slots[pages].view(np.uint8).copy())

    def import_pages(self, pages: list[int], values: Tensor) -> None:
        self.slots[pages] = values.numpy().view(np.int64)


def meaning(namespace: Namespace, ids: list[int]) -> int:
    return abs(hash((namespace, tuple(ids))))


def price(start: int, end: int) -> float:
    return float(end - start) * (start + 1)


class Cache(RuleBasedStateMachine):
    """`running` tables with the ids they are for, and contexts."""

    host_pages: int | None = None
    disk_pages: int | None = None
    eviction: Any = "lru"

    def __init__(self) -> None:
        super().__init__()
        self.kv = FakeKV(NUM_PAGES, PAGE)
        self.stats = CacheStats()
        self.folder = tempfile.TemporaryDirectory()
        self.transfer = self.open_tiers()
        self.cache = KVCache(
            *(NUM_PAGES, PAGE, self.kv.copy_page, self.eviction, price),
            lower=self.transfer,
            stats=self.stats,
        )
        self.released: deque[PageTable] = deque()
        self.pins = Pins(self.cache, self.released, 0.4, lambda: 0)
        self.running: list[tuple[PageTable, list[int]]] = []
        self.contexts: list[LLMContext] = []

    def open_tiers(self) -> TierTransfer | None:
        if self.host_pages is None and self.disk_pages is None:
            return None
        page_bytes = 8 * PAGE
        host = HostTier(self.host_pages, page_bytes, False) if self.host_pages else None
        disk = None
        if self.disk_pages:
            root = Path(self.folder.name) / "kv"
            shared = KVFolder(root, "a" * 16, "b" * 16, self.disk_pages * (page_bytes + 24))
            disk = DiskTier(shared, page_bytes)
        worker = TransferWorker(self.kv, page_bytes, Raw(page_bytes), host, disk, self.stats)
        keys = PageKeys("a model", PAGE)
        return TierTransfer(LowerTierIndex(self.kv, keys, worker, self.stats))

    def pick(self, data: st.DataObject, what: list[Any]) -> Any:
        return what[data.draw(st.integers(0, len(what) - 1))]

    @precondition(lambda self: len(self.running) < 4)
    @rule(space=SPACES, ids=TOKENS, num_tokens=st.integers(0, 20))
    def start(self, space: Namespace, ids: list[int], num_tokens: int) -> None:
        self.go(PageTable(space), ids, num_tokens)

    @precondition(lambda self: self.contexts and len(self.running) < 4)
    @rule(data=st.data(), more=TOKENS, num_tokens=st.integers(0, 20))
    def go_on(self, data: st.DataObject, more: list[int], num_tokens: int) -> None:
        context = self.pick(data, self.contexts)
        if len(context.ids) < 16:
            self.go(self.cache.fork(context.table), context.ids + more, num_tokens)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), num_tokens=st.integers(0, 20), fails=st.integers(0, 9))
    def step(self, data: st.DataObject, num_tokens: int, fails: int) -> None:
        table, ids = self.pick(data, self.running)
        self.match(table, ids)
        self.compute(table, ids, num_tokens, fails == 0)

    def go(self, table: PageTable, ids: list[int], num_tokens: int) -> None:
        self.running.append((table, ids))
        self.match(table, ids)
        self.compute(table, ids, num_tokens, False)

    def match(self, table: PageTable, ids: list[int]) -> None:
        before = table.num_computed
        gained = self.cache.match(table, ids[:-1])
        assert table.num_computed == before + gained

    def compute(self, table: PageTable, ids: list[int], num_tokens: int, fails: bool) -> None:
        """A step: reserve and publish, then write."""
        start = table.num_computed
        end = min(len(ids), start + num_tokens)
        if table.is_loading or end == start or not self.cache.reserve(table, end):
            return
        self.cache.publish(table, ids, end)
        if fails:
            self.cache.drop(table)  # with all that it named and did not write
            return
        self.kv.write(table.pages, table.namespace, ids[:end], start)
        self.cache.settle()
        table.num_computed = end

    @precondition(lambda self: self.running)
    @rule(data=st.data(), num_tokens=st.integers(0, 3))
    def finish(self, data: st.DataObject, num_tokens: int) -> None:
        """To a context, perhaps cut and with other tokens from there on."""
        table, ids = entry = self.pick(data, self.running)
        self.running.remove(entry)
        self.cache.publish(table, ids, table.num_computed)
        kept = max(0, len(ids) - num_tokens)
        self.cache.truncate(table, max(0, kept - 1))
        self.cache.retire(table)
        self.contexts.append(LLMContext(ids[:kept], None, table, self.released))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), ends=st.booleans())
    def preempt(self, data: st.DataObject, ends: bool) -> None:
        table, ids = entry = self.pick(data, self.running)
        self.cache.publish(table, ids, table.num_computed)
        self.cache.drop(table)
        if ends:
            self.running.remove(entry)

    @precondition(lambda self: self.contexts)
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        with suppress(EngineOverloaded):
            self.pins.pin(self.pick(data, self.contexts))

    @precondition(lambda self: self.contexts)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        context = self.pick(data, self.contexts)
        self.contexts.remove(context)
        context.release()
        self.pins.free_released()

    @rule(waits=st.booleans())
    def begin_step(self, waits: bool) -> None:
        if self.transfer is not None:
            if waits:
                self.transfer.tiers.worker.drain()
            self.transfer.poll(self.cache)

    @rule(num_tokens=st.integers(9, NUM_PAGES * PAGE))
    def press(self, num_tokens: int) -> None:
        """Somebody needs pages, and gives them back."""
        table = PageTable(Namespace(salt="pressure"))
        pinned = self.pins.num_pinned
        if self.cache.reserve(table, num_tokens):
            assert self.pins.num_pinned == pinned
        self.cache.drop(table)

    @rule()
    def flush(self) -> None:
        if self.transfer is not None:
            self.transfer.flush(self.cache)
        self.cache.forget()

    @invariant()
    def everybody_reads_its_own_kv(self) -> None:
        self.pins.free_released()
        self.cache.check_integrity(table for table, _ in self.running)
        self.pins.check_integrity()
        for table, ids in self.running:
            self.kv.check(table.pages, table.namespace, ids[: table.num_computed])
        for context in self.contexts:
            table = context.table
            self.kv.check(table.pages, table.namespace, context.ids[: table.num_computed])

    def teardown(self) -> None:
        for table, _ in self.running:
            self.cache.drop(table)
        for context in self.contexts:
            context.release()
        self.pins.free_released()
        if self.transfer is not None:
            self.transfer.close(self.cache)
            self.check_tiers()
        self.cache.forget()
        self.cache.check_integrity()
        assert self.cache.pool.num_free == NUM_PAGES
        self.folder.cleanup()

    def check_tiers(self) -> None:
        assert self.transfer is not None
        worker = self.transfer.tiers.worker
        assert worker.num_queued == 0
        if worker.host is not None:
            worker.host.check_integrity()
        if worker.disk is not None:
            worker.disk.check_integrity()
            assert worker.disk.num_bad == 0


def machine(name: str, **changes: Any) -> Any:
    found = type(name, (Cache,), changes)
    found.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
    return found.TestCase


test_without_tiers = machine("WithoutTiers")
test_without_tiers_by_pgdsf = machine("Pgdsf", eviction="pgdsf")
test_without_tiers_by_lfu = machine("Lfu", eviction="lfu")
test_without_tiers_by_next_use = machine("NextUse", eviction="next_use")
test_with_host_memory = machine("Host", host_pages=6)
test_with_a_disk = machine("Disk", disk_pages=20, eviction="lfu")
test_with_both = machine("Both", host_pages=3, disk_pages=8)


def test_the_fake_notices_a_page_of_other_tokens() -> None:
    kv = FakeKV(2, PAGE)
    kv.write([0], Namespace(), [1, 2], 0)
    kv.check([0], Namespace(), [1, 2])
    for namespace, ids in ((Namespace(), [1, 3]), (Namespace(salt="b"), [1, 2])):
        with pytest.raises(AssertionError, match="other KV"):
            kv.check([0], namespace, ids)


def test_pages_that_no_step_wrote_are_never_saved() -> None:
    kv = FakeKV(4, PAGE)
    stats = CacheStats()
    host = HostTier(8, 8 * PAGE, is_pinned=False)
    worker = TransferWorker(kv, 8 * PAGE, Raw(8 * PAGE), host, None, stats)
    transfer = TierTransfer(LowerTierIndex(kv, PageKeys("a model", PAGE), worker, stats))
    cache = KVCache(4, PAGE, kv.copy_page, lower=transfer, stats=stats)
    writer, sibling, other = PageTable(), PageTable(), PageTable()
    assert cache.reserve(writer, 4)
    cache.publish(writer, [1, 2, 3, 4], 4)
    assert cache.match(sibling, [1, 2, 3, 4]) == 4  # of the same step, which then fails
    cache.drop(writer)
    cache.drop(sibling)
    assert cache.reserve(other, 8)  # evicts them: FakeKV would raise if they were exported
    transfer.close(cache)
    assert len(host) == 0
