"""Adapters by name; those in memory pay with pages of the KV cache (S-LoRA, arXiv 2311.03285).

An adapter holds as many pages as its weights take bytes, so KV and weights never exceed the one
pool. Sequences lock their adapter while they run. Idle adapters keep their weights until
the pages are needed: then the least recently used adapter is evicted, before any prefix, since
reading weights again is cheaper than recomputing KV. A request that names it loads it again from
the same files, on another thread: the request waits, all others go on. The digest of the files is
checked, because cached KV was computed with those weights.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from backends.errors import ConfigError, EngineUnavailable, RequestRejected
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.lora.adapter import Adapter, LoadedAdapter
from backends.llm.lora.reader import AdapterReader, wait_for_one
from backends.request_limits import MAX_NAME_CHARS, check_size


class AdaptersInMemory:
    """Those whose weights are here, the least recently used first."""

    def __init__(self) -> None:
        self.num_evictions = 0
        self._by_use: OrderedDict[Adapter, None] = OrderedDict()

    def __iter__(self) -> Iterator[Adapter]:
        return iter(self._by_use)

    def __contains__(self, adapter: Adapter) -> bool:
        return adapter in self._by_use

    def add(self, adapter: Adapter, loaded: LoadedAdapter) -> None:
        """Its pages are reserved."""
        adapter.loaded = loaded
        self._by_use[adapter] = None

    def use(self, adapter: Adapter) -> None:
        """One more sequence runs with it."""
        self._by_use.move_to_end(adapter)
        adapter.num_users += 1

    def evict(self, adapter: Adapter, drop: Callable[[PageTable], None]) -> None:
        """Its weights go, and its pages with them."""
        del self._by_use[adapter]
        adapter.loaded = None
        drop(adapter.table)

    def give_back(self, drop: Callable[[PageTable], None]) -> bool:
        """Evict the idle adapter used longest ago; False when all are in use or on disk."""
        idle = next((adapter for adapter in self._by_use if not adapter.num_users), None)
        if idle is None:
            return False
        self.evict(idle, drop)
        self.num_evictions += 1
        return True


class AdapterPool:
    """Changed by the engine's thread alone. `in_memory` is what the cache takes pages back from,
    `read` is `files.read_adapter` for this model, `num_bytes` says what it takes in memory then."""

    def __init__(
        self,
        cache: KVCache,
        in_memory: AdaptersInMemory,
        page_bytes: int,
        read: Callable[[Path], LoadedAdapter],
        num_bytes: Callable[[LoadedAdapter], int],
    ) -> None:
        self._cache = cache
        self.in_memory = in_memory
        self._page_bytes = page_bytes
        self._reader = AdapterReader(read, num_bytes)
        self._known: dict[str, Adapter] = {}
        self._loading: dict[Adapter, Future[LoadedAdapter]] = {}  # their pages are reserved
        self._untaken: set[Adapter] = set()  # were read before the last step
        self.names: tuple[str, ...] = ()  # replaced, never changed: other threads may read it

    @property
    def num_loading(self) -> int:
        return len(self._loading)

    def read(self, folder: Path) -> LoadedAdapter:
        """What `load` takes in; any thread may call. Raises ConfigError."""
        return self._reader.read(folder)

    def load(self, name: str, folder: Path, read: LoadedAdapter | None = None) -> None:
        """Make an adapter known, and take it into memory if there is room; `read` is what its
        folder holds, if it was read already. Raises ConfigError for files that are wrong or do not
        fit this model or pool, or a name taken by others."""
        read = read or self.read(folder)
        known = self._known.get(name)
        if known is not None and known.digest == read.digest:
            known.folder = folder
            return
        if known is not None:
            raise ConfigError(f"adapter {name!r} is {known.folder} already; unload it first")
        adapter_pages = -(-self._reader.num_bytes(read) // self._page_bytes)
        adapter = Adapter(name, folder, read.digest, adapter_pages)
        num_pages = self._cache.pool.num_pages
        if adapter.num_pages >= num_pages:
            raise ConfigError(
                f"adapter {name!r} takes {adapter.num_pages} pages and the whole KV pool has "
                f"{num_pages}: raise the option kv_tokens"
            )
        self._know(adapter)
        self._take_in(adapter, read)

    def unload(self, name: str) -> None:
        """Requests that have come keep it until they end. Raises ConfigError for unknown names."""
        if name not in self._known:
            raise ConfigError(self._unknown(name))
        adapter = self._known.pop(name)
        self.names = tuple(sorted(self._known))
        adapter.is_known = False
        self._drop_if_gone(adapter)

    def find(self, name: object) -> Adapter:
        """Any thread may ask. Raises RequestRejected, with the known names, for an unknown one."""
        if isinstance(name, str):
            check_size("adapter", len(name), MAX_NAME_CHARS, "characters")
        adapter = self._known.get(name) if isinstance(name, str) else None
        if adapter is None:
            raise RequestRejected(self._unknown(name))
        return adapter

    def acquire(self, adapter: Adapter | None) -> bool:
        """Lock an adapter in memory for one sequence. False while it is read again after an
        eviction (`is_loading`), and when there are no pages for it now. Raises EngineUnavailable if
        its files have changed."""
        if adapter is None:
            return True
        if adapter.loaded is None and not self._bring(adapter):
            return False
        self.in_memory.use(adapter)
        return True

    def is_loading(self, adapter: Adapter | None) -> bool:
        """Its pages are reserved, and its files are being read."""
        return adapter in self._loading

    def poll(self) -> None:
        """Before each step: what no sequence took in the last one is idle from now on."""
        for adapter in self._untaken & self._loading.keys():
            with suppress(EngineUnavailable):  # who wants it reads it again, and is told
                self._take(adapter)
            self._drop_if_gone(adapter)
        self._untaken = {adapter for adapter, read in self._loading.items() if read.done()}

    def wait(self, timeout_s: float) -> None:
        """Return when an adapter was read, or after the time."""
        wait_for_one(self._loading.values(), timeout_s)

    def close(self) -> None:
        self._reader.close()

    def release(self, adapter: Adapter | None) -> None:
        """Undo one `acquire`."""
        if adapter is None:
            return
        assert adapter.num_users > 0, f"{adapter} is not in use"
        adapter.num_users -= 1
        self._drop_if_gone(adapter)

    def num_tokens(self, adapter: Adapter | None) -> int:
        """How many tokens' KV the pool takes less while this adapter is in memory."""
        return adapter.num_pages * self._cache.pool.page_size if adapter is not None else 0

    def tables(self) -> Iterator[PageTable]:
        """The pages that weights hold, or will hold."""
        return (adapter.table for adapter in (*self.in_memory, *self._loading))

    def check_integrity(self, running: Iterable[Adapter | None]) -> None:
        """Raise AssertionError unless `running` (an adapter once a sequence) is what is locked."""
        users = list(running)
        for adapter in {*self.in_memory, *self._known.values(), *self._loading}:
            is_in_memory, is_loading = adapter in self.in_memory, adapter in self._loading
            assert (adapter.loaded is not None) == is_in_memory, f"{adapter}: lost or forgotten"
            assert not (is_in_memory and is_loading), f"{adapter} is read twice"
            num_pages = adapter.num_pages if is_in_memory or is_loading else 0
            assert len(adapter.table.pages) == num_pages, f"{adapter} holds other pages"
            assert adapter.num_users == users.count(adapter), f"{adapter}: users miscounted"
            is_wanted = adapter.is_known or adapter.num_users or is_loading
            assert is_wanted, f"{adapter} was unloaded and is kept"
        assert {*users} - {None} <= {*self.in_memory}, "a sequence runs without its adapter"

    def _know(self, adapter: Adapter) -> None:
        self._known[adapter.name] = adapter
        self.names = tuple(sorted(self._known))

    def _take_in(self, adapter: Adapter, read: LoadedAdapter) -> None:
        if self._reserve(adapter):
            self.in_memory.add(adapter, read)

    def _reserve(self, adapter: Adapter) -> bool:
        return self._cache.reserve(adapter.table, self.num_tokens(adapter))

    def _bring(self, adapter: Adapter) -> bool:
        """Start to read it, or take what was read; whether it is in memory then."""
        if adapter not in self._loading:
            if not self._reserve(adapter):
                return False
            self._loading[adapter] = self._reader.start(adapter.folder)
        if not self._loading[adapter].done():
            return False
        self._take(adapter)
        return True

    def _take(self, adapter: Adapter) -> None:
        read = self._loading.pop(adapter)
        try:
            loaded = self._checked(adapter, read)
        except EngineUnavailable:
            self._cache.drop(adapter.table)
            raise
        self.in_memory.add(adapter, loaded)

    def _checked(self, adapter: Adapter, reading: "Future[LoadedAdapter]") -> LoadedAdapter:
        remedy = f"unload {adapter.name!r} and load it again"
        try:
            read = reading.result()
        except Exception as error:  # the outcome of the requests that wait for it
            raise EngineUnavailable(f"{error} (it was readable before; {remedy})") from error
        if read.digest != adapter.digest:
            raise EngineUnavailable(f"{adapter.folder} has changed since it was loaded: {remedy}")
        return read

    def _drop_if_gone(self, adapter: Adapter) -> None:
        if not adapter.is_known and not adapter.num_users and adapter in self.in_memory:
            self.in_memory.evict(adapter, self._cache.drop)

    def _unknown(self, name: object) -> str:
        known = ", ".join(self.names) or "none; load it first"
        return f"no adapter {name!r} is loaded; known: {known}"
