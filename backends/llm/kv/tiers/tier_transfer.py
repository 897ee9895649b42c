"""Transfers of pages between the pool and the lower tiers, on the engine's thread.

A page is copied when it leaves the pool, and the transfer thread moves the copy. Pages that a
sequence needs are loaded into pages reserved for it; that sequence waits, all others continue.
"""

from collections.abc import Iterator
from typing import NamedTuple

from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import Load, PageTable
from backends.llm.kv.radix_node import RadixNode
from backends.llm.kv.tiers.lower_tier_index import LowerTierIndex


class Arrival(NamedTuple):
    """A load and the table whose last pages it fills."""

    load: Load
    lease: PageTable
    ids: list[int]  # those whose KV the lease will hold


class Loading:
    """Loads under way by key."""

    def __init__(self) -> None:
        self._arrivals: list[Arrival] = []
        self._by_key: dict[bytes, Load] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def find(self, key: bytes) -> Load | None:
        """The load that brings this page."""
        return self._by_key.get(key)

    def add(self, load: Load, lease: PageTable, ids: list[int]) -> None:
        # A lease locks the path to its pages, so a request that matches it continues from there and
        # finds this load.
        assert not self._by_key.keys() & set(load.keys), "a page is brought twice"
        self._arrivals.append(Arrival(load, lease, ids))
        self._by_key.update((key, load) for key in load.keys)

    def take_done(self) -> list[Arrival]:
        """The loads that are done; they are then no longer under way."""
        done: list[Arrival] = []
        rest: list[Arrival] = []
        for arrival in self._arrivals:  # asked once each: the worker may finish one meanwhile
            (done if arrival.load.is_done else rest).append(arrival)
        self._arrivals = rest
        for arrival in done:
            for key in arrival.load.keys:
                del self._by_key[key]
        return done

    def tables(self) -> Iterator[PageTable]:
        """The tables that hold pages here."""
        return (arrival.lease for arrival in self._arrivals)


class TierTransfer:
    """Registers itself as the `lower` of a cache."""

    def __init__(self, cache: KVCache, tiers: LowerTierIndex) -> None:
        self.tiers = tiers
        self._cache = cache
        self._loading = Loading()
        self._arrived: list[PageTable] = []  # leases of loads, kept until their waiters had a turn
        cache.lower = self

    @property
    def num_loading(self) -> int:
        return len(self._loading)

    def save(self, node: RadixNode, num_last: int, *, is_patient: bool = False) -> None:
        """Copy the last pages of a node, the very last one first: its loss would harm least."""
        keys = self.tiers.keys.of(node)
        unwritten = self._cache.unwritten
        at = [i for i in range(len(keys))[-num_last:] if node.pages[i] not in unwritten][::-1]
        self.tiers.save([keys[i] for i in at], [node.pages[i] for i in at], is_patient=is_patient)

    def load_rest(self, table: PageTable, ids: list[int]) -> Load | None:
        """The load that brings the pages after those of the table, started if need be. None where
        nothing more is held below, or the pool has no room for it."""
        cache, size = self._cache, self._cache.pool.page_size
        node = table.node if table.node is not None else cache.tree.root(table.namespace)
        start = node.end
        if start != table.num_computed // size * size or start + size > len(ids):
            return None
        if node.pages and node.pages[-1] in cache.unwritten:
            return None  # a step may fail, a load is not undone: first use that page
        last = self.tiers.keys.last(node)
        if (
            under_way := self._loading.find(self.tiers.keys.following(last, ids, start))
        ) is not None:
            return under_way
        keys = self.tiers.find(last, ids, start, size)
        if not keys:
            return None
        end = start + len(keys) * size
        lease = cache.share(table, start)
        if not cache.reserve(lease, end):
            cache.drop(lease)
            return None
        load = self.tiers.load(keys, lease.pages[start // size :])
        self._loading.add(load, lease, ids[:end])
        return load

    def poll(self) -> None:
        """Take what was loaded into the tree. Before each step."""
        self.let_go()
        for load, lease, ids in self._loading.take_done():
            self._take(load, lease, ids)

    def let_go(self) -> None:
        """What was loaded is from now on like all else in the tree."""
        while self._arrived:
            self._cache.drop(self._arrived.pop())

    def wait(self, timeout_s: float) -> None:
        """Sleep until a load is done, or for the time: when there is nothing else to do."""
        self.tiers.worker.wait_for_load(timeout_s)

    def tables(self) -> Iterator[PageTable]:
        """The tables that hold pages here; leases that arrived are idle tables."""
        return self._loading.tables()

    def gauges(self) -> dict[str, int]:
        """What is below, for `CacheStats`. Any thread may ask."""
        host, disk = self.tiers.worker.host, self.tiers.worker.disk
        return {
            "host_pages": len(host) if host is not None else 0,
            "disk_pages": len(disk) if disk is not None else 0,
            "bad_files": disk.num_bad if disk is not None else 0,
        }

    def flush(self) -> None:
        """Forget what is held below, and what was on its way up."""
        self.tiers.worker.drain()
        self.poll()
        self.let_go()
        self.tiers.worker.clear()

    def close(self) -> None:
        """Move the tree's pages to disk, if there is one, and end the transfer thread."""
        self.tiers.worker.drain()
        self.poll()
        self.let_go()
        if self.tiers.worker.disk is not None:  # least recently used and deepest first
            for node in sorted(self._cache.tree.nodes(), key=lambda n: (n.use.last_used, -n.end)):
                if node.pages:
                    self.save(node, len(node.pages), is_patient=True)
        self.tiers.worker.close()
        self._cache.lower = None

    def _take(self, load: Load, lease: PageTable, ids: list[int]) -> None:
        cache, size = self._cache, self._cache.pool.page_size
        lease.num_computed += load.num_pages * size
        cache.publish(lease, ids, lease.num_computed)
        cache.retire(lease)
        self._arrived.append(lease)
        load.is_taken = True
        cache.stats.host_hit_tokens += load.num_host * size
        cache.stats.disk_hit_tokens += load.num_disk * size
        cache.stats.lost_pages += len(load.keys) - load.num_pages
