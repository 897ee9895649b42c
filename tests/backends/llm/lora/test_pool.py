"""Adapters and KV in one budget: who pays, who is evicted, who waits."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.errors import ConfigError, EngineUnavailable, RequestRejected
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.lora.adapter import Adapter, Delta, LayerDeltas, LoadedAdapter
from backends.llm.lora.pool import AdapterPool, AdaptersInMemory

PAGE_BYTES = 128
NUM_PAGES = 10


class Disk:
    """Adapters by folder; each takes as many pages as stands there."""

    def __init__(self, **pages: int) -> None:
        self.pages = pages
        self.digests = {name: name for name in pages}
        self.num_reads = 0

    def read(self, folder: Path) -> LoadedAdapter:
        if str(folder) not in self.pages:
            raise ConfigError(f"cannot read {folder}")
        self.num_reads += 1
        num_values = self.pages[str(folder)] * PAGE_BYTES // 4
        delta = Delta(torch.zeros(1, num_values - 1), torch.zeros(1, 1))
        return LoadedAdapter((LayerDeltas(out=delta),), self.digests[str(folder)])


def make(disk: Disk) -> AdapterPool:
    in_memory = AdaptersInMemory()
    cache = KVCache(NUM_PAGES, 4, lambda *_: None, borrower=in_memory)
    pool = AdapterPool(cache, in_memory, PAGE_BYTES, disk.read, lambda read: read.num_bytes)
    for name in disk.pages:
        pool.load(name, Path(name))
    return pool


def acquire(pool: AdapterPool, adapter: Adapter) -> bool:
    """As a sequence that waits for the reading."""
    while not (is_locked := pool.acquire(adapter)) and pool.is_loading(adapter):
        pool.wait(10)
    return is_locked


def cache_of(pool: AdapterPool) -> KVCache:
    return pool._cache


def check(pool: AdapterPool, users: list[Adapter | None], *tables: PageTable) -> None:
    pool.check_integrity(users)
    cache_of(pool).check_integrity([*tables, *pool.tables()])


def in_memory(pool: AdapterPool) -> set[str]:
    return {name for name in pool.names if pool.find(name).loaded is not None}


def test_an_adapter_holds_as_many_pages_as_its_bytes_take() -> None:
    pool = make(Disk(a=3, b=2))
    assert cache_of(pool).pool.num_free == 5
    pool.unload("a")
    assert cache_of(pool).pool.num_free == 8
    check(pool, [])


def test_loading_evicts_the_idle_adapter_used_longest_ago() -> None:
    disk = Disk(a=4, b=4)
    pool = make(disk)
    assert acquire(pool, pool.find("a"))
    pool.release(pool.find("a"))
    disk.pages["c"] = 4
    disk.digests["c"] = "c"
    pool.load("c", Path("c"))
    assert pool.names == ("a", "b", "c")
    assert in_memory(pool) == {"a", "c"}
    check(pool, [])


def test_kv_takes_the_pages_of_idle_adapters_but_not_of_those_in_use() -> None:
    pool = make(Disk(a=4, b=4))
    used = pool.find("a")
    assert acquire(pool, used)
    table = PageTable()
    assert cache_of(pool).reserve(table, 6 * 4)
    assert in_memory(pool) == {"a"}
    assert not cache_of(pool).reserve(table, 7 * 4)
    check(pool, [used], table)
    pool.release(used)
    assert cache_of(pool).reserve(table, 7 * 4)
    assert in_memory(pool) == set()
    check(pool, [], table)


def test_an_evicted_adapter_is_read_again_when_it_is_used() -> None:
    disk = Disk(a=6, b=6)
    pool = make(disk)
    assert in_memory(pool) == {"b"}
    a, reads = pool.find("a"), disk.num_reads
    assert acquire(pool, a)
    assert disk.num_reads == reads + 1
    assert in_memory(pool) == {"a"}
    assert not acquire(pool, pool.find("b"))  # no room while a is in use
    check(pool, [a])
    pool.release(a)
    assert acquire(pool, pool.find("b"))


def test_files_that_changed_or_went_away_meanwhile_are_refused() -> None:
    disk = Disk(a=6, b=6)
    pool = make(disk)
    disk.digests["a"] = "other"
    with pytest.raises(EngineUnavailable, match="a has changed since .*unload 'a' and load it"):
        acquire(pool, pool.find("a"))
    del disk.pages["a"]
    with pytest.raises(EngineUnavailable, match="cannot read a .*unload 'a'"):
        acquire(pool, pool.find("a"))
    check(pool, [])


def test_unloading_lets_users_finish() -> None:
    pool = make(Disk(a=3))
    a = pool.find("a")
    assert acquire(pool, a)
    pool.unload("a")
    with pytest.raises(RequestRejected, match="no adapter 'a' is loaded; known: none"):
        pool.find("a")
    check(pool, [a])
    assert a.loaded is not None
    pool.release(a)
    assert cache_of(pool).pool.num_free == NUM_PAGES
    check(pool, [])


def test_names_are_unknown_taken_or_too_large() -> None:
    disk = Disk(a=1, b=1)
    pool = make(disk)
    with pytest.raises(RequestRejected, match="no adapter 'c' is loaded; known: a, b"):
        pool.find("c")
    with pytest.raises(ConfigError, match="no adapter 'c'"):
        pool.unload("c")
    with pytest.raises(ConfigError, match="'a' is a already; unload it first"):
        pool.load("a", Path("b"))
    pool.load("a", Path("a"))  # the same again
    disk.pages["huge"], disk.digests["huge"] = NUM_PAGES, "huge"
    with pytest.raises(ConfigError, match="takes 10 pages and the whole KV pool has 10: raise"):
        pool.load("huge", Path("huge"))
    assert pool.names == ("a", "b")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("lurskgd"), st.integers(0, 4)), max_size=40))
def test_any_order_of_calls_keeps_the_books(calls: list[tuple[str, int]]) -> None:
    disk = Disk(a=1, b=2, c=3, d=4, e=5)
    pool = make(disk)
    users: list[Adapter | None] = []
    tables: list[PageTable] = []
    for action, number in calls:
        name = "abcde"[number]
        if action == "l":
            pool.load(name, Path(name))
        elif action == "u" and name in pool.names:
            pool.unload(name)
        elif action == "r" and name in pool.names and acquire(pool, pool.find(name)):
            users.append(pool._known[name])
        elif action == "s" and name in pool.names:  # asked for, and gone before it was read
            if pool.acquire(pool.find(name)):
                pool.release(pool.find(name))
            pool.poll()
        elif action == "g" and users:
            pool.release(users.pop(number % len(users)))
        elif action == "k":
            tables.append(PageTable())
            cache_of(pool).reserve(tables[-1], 4 * number)
        elif action == "d" and tables:
            cache_of(pool).drop(tables.pop(number % len(tables)))
        check(pool, users, *tables)
