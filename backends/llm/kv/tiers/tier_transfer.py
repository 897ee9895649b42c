"""Transfers of pages between the pool and the lower tiers, on the engine's thread.

A page is copied when it leaves the pool, and the transfer thread moves the copy. Pages that a
sequence needs are loaded into pages reserved for it; that sequence waits, all others continue.
"""

from collections.abc import Iterator
from typing import NamedTuple

from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import Load, PageTable
from backends.llm.kv.radix import RadixNode
from backends.llm.kv.tiers.host import Origin
from backends.llm.kv.tiers.page_key import PageKeys
from backends.llm.kv.tiers.transfer_worker import PageStore, TransferWorker
from backends.llm.stats import CacheStats

_QUEUED_PAGES = 256  # most copies that wait to be saved; what comes then is not kept


class LowerTierIndex:
    """Used by the engine's thread, which never waits for a transfer but in `flush` and `close`."""

    def __init__(
        self, store: PageStore, keys: PageKeys, worker: TransferWorker, stats: CacheStats
    ) -> None:
        self.keys = keys
        self.worker = worker
        self._store = store
        self._stats = stats

    def save(
        self,
        keys: list[bytes],
        pages: list[int],
        origins: list[Origin],
        *,
        is_patient: bool = False,
    ) -> None:
        """Copy pages that are held nowhere below; the copies are moved later. When the queue is
        full the last pages are not kept, unless the caller is patient."""
        unknown = [i for i, key in enumerate(keys) if key not in self.worker]
        self._stats.known_pages += len(keys) - len(unknown)
        while unknown:
            room = max(0, _QUEUED_PAGES - self.worker.num_queued)
            if not room and not is_patient:
                self._stats.unsaved_pages += len(unknown)
                return
            if not room:
                self.worker.drain()
                continue
            now, unknown = unknown[:room], unknown[room:]  # no more than may wait
            rows = self._store.export_pages([pages[i] for i in now])
            self.worker.save([keys[i] for i in now], rows, [origins[i] for i in now])
            self._stats.saved_pages += len(now)

    def find(self, last: bytes, ids: list[int], start: int, page_size: int) -> list[bytes]:
        """Keys of the pages from ids[start] on that are held below, up to the first that is not;
        `last` is the key of the page before."""
        found: list[bytes] = []
        while start + page_size <= len(ids):
            last = self.keys.following(last, ids, start)
            if last not in self.worker:
                break
            found.append(last)
            start += page_size
        return found

    def load(self, keys: list[bytes], pages: list[int]) -> Load:
        """Start to bring pages back."""
        load = Load(keys, pages)
        self._stats.num_loads += 1
        self.worker.load(load)
        return load


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
    """What is below one cache, which is given to each call that moves its pages."""

    def __init__(self, tiers: LowerTierIndex) -> None:
        self.tiers = tiers
        self._loading = Loading()
        self._arrived: list[PageTable] = []  # leases of loads, kept until their waiters had a turn

    @property
    def num_loading(self) -> int:
        return len(self._loading)

    def save(
        self, cache: KVCache, node: RadixNode, num_last: int, *, is_patient: bool = False
    ) -> None:
        """Copy the last pages of a node, the very last one first: its loss would harm least."""
        keys = self.tiers.keys.of(node)
        last = range(len(keys))[-num_last:]
        at = [i for i in last if node.pages[i] not in cache.unwritten][::-1]
        assert node.parent is not None, "a root has no page"
        before = [self.tiers.keys.last(node.parent), *keys]
        use = node.use
        self.tiers.save(
            [keys[i] for i in at],
            [node.pages[i] for i in at],
            [Origin(before[i], use.num_uses, use.seconds_per_token) for i in at],
            is_patient=is_patient,
        )

    def load_rest(
        self, cache: KVCache, table: PageTable, ids: list[int], spared_s: float | None = None
    ) -> Load | None:
        """The load that brings the pages after those of the table, started if need be. None where
        nothing more is held below, or the pool has no room for it: see `KVCache.reserve`."""
        size = cache.pool.page_size
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
        if not cache.reserve(lease, end, spared_s):
            cache.drop(lease)
            return None
        load = self.tiers.load(keys, lease.pages[start // size :])
        self._loading.add(load, lease, ids[:end])
        return load

    def poll(self, cache: KVCache) -> None:
        """Take what was loaded into the tree. Before each step."""
        self.let_go(cache)
        for arrival in self._loading.take_done():
            self._take(cache, arrival)

    def let_go(self, cache: KVCache) -> None:
        """What was loaded is from now on like all else in the tree."""
        while self._arrived:
            cache.drop(self._arrived.pop())

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

    def flush(self, cache: KVCache) -> None:
        """Forget what is held below, and what was on its way up."""
        self._finish_loads(cache)
        self.tiers.worker.clear()

    def close(self, cache: KVCache) -> None:
        """Move the tree's pages to disk, if there is one, and end the transfer thread. Nothing of
        the cache is used any more."""
        self._finish_loads(cache)
        if self.tiers.worker.disk is not None:  # least recently used and deepest first
            for node in sorted(cache.tree.nodes(), key=lambda n: (n.use.last_used, -n.end)):
                if node.pages:
                    self.save(cache, node, len(node.pages), is_patient=True)
        self.tiers.worker.close()

    def _finish_loads(self, cache: KVCache) -> None:
        self.tiers.worker.drain()
        self.poll(cache)
        self.let_go(cache)

    def _take(self, cache: KVCache, arrival: Arrival) -> None:
        (load, lease, ids), size = arrival, cache.pool.page_size
        lease.num_computed += load.num_pages * size
        cache.publish(lease, ids, lease.num_computed)
        cache.retire(lease)
        self._arrived.append(lease)
        load.is_taken = True
        cache.stats.host_hit_tokens += load.num_host * size
        cache.stats.disk_hit_tokens += load.num_disk * size
        cache.stats.lost_pages += len(load.keys) - load.num_pages
