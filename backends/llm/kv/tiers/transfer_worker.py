"""The transfer thread: moves pages between the pool and the lower tiers; loads before saves."""

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from backends.llm.kv.page_table import Load
from backends.llm.kv.tiers.disk import DiskTier
from backends.llm.kv.tiers.host import HostTier, Origin
from backends.llm.kv.tiers.page_codec import PageCodec, copy_row
from backends.llm.stats import CacheStats

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)
_LOAD_PAGES = 16  # most pages a load holds outside the pool at once


class PageStore(Protocol):
    """Both calls take pages without other users, and may come from any thread."""

    def export_pages(self, pages: list[int]) -> "Tensor":
        """A copy of whole pages: uint8 [P, bytes]."""

    def import_pages(self, pages: list[int], values: "Tensor") -> None:
        """What `export_pages` gave, from host memory."""


class TransferWorker:
    """`save` and `load` only enqueue. A key is held from `save` on: in the queue, on the host or on
    disk."""

    def __init__(
        self,
        store: PageStore,
        page_bytes: int,
        codec: PageCodec,
        host: HostTier | None,
        disk: DiskTier | None,
        stats: CacheStats,
    ) -> None:
        """Pages of `page_bytes` in the pool are kept as `codec` encodes them, once."""
        self.host = host
        self.disk = disk
        self._store = store
        self._page_bytes = page_bytes
        self._codec = codec
        self._stats = stats
        self._queued: dict[bytes, Tensor] = {}  # key -> row [bytes], not yet saved
        self._origins: dict[bytes, Origin] = {}  # of those that are queued
        self._saves: deque[bytes] = deque()
        self._loads: deque[Load] = deque()
        self._wake = threading.Condition()
        self._loaded = threading.Event()
        self._is_closed = False
        self._is_busy = False
        self._thread: threading.Thread | None = None  # from the first thing to do on

    def __contains__(self, key: bytes) -> bool:
        is_below = self.host is not None and key in self.host
        return key in self._queued or is_below or (self.disk is not None and key in self.disk)

    @property
    def num_queued(self) -> int:
        return len(self._queued)

    def save(self, keys: list[bytes], rows: "Tensor", origins: list[Origin]) -> None:
        """Keep pages rows [P, bytes] below, none of which is held there."""
        with self._wake:
            for key, row, origin in zip(keys, rows.unbind(0), origins, strict=True):
                self._queued[key] = row
                self._origins[key] = origin
                self._saves.append(key)
            self._start()

    def load(self, load: Load) -> None:
        with self._wake:
            self._loads.append(load)
            self._start()

    def wait_for_load(self, timeout_s: float) -> None:
        """Return when a load was finished since the last call, or after the time."""
        self._loaded.wait(timeout_s)
        self._loaded.clear()

    def drain(self) -> None:
        """Block until everything noted so far is done."""
        with self._wake:
            self._wake.wait_for(lambda: not (self._saves or self._loads or self._is_busy))

    def clear(self) -> None:
        """Forget everything held. Only between loads."""
        self.drain()
        if self.host is not None:
            for key in self.host.in_order():
                self.host.drop(key)
        if self.disk is not None:
            self.disk.clear()

    def close(self) -> None:
        """What is queued or on the host goes to disk, if there is one."""
        self.drain()
        if self.disk is not None and self.host is not None:
            for key in self.host.in_order():
                kept = self.host.get(key)
                assert kept is not None, "listed but not held"
                self._to_disk(key, kept)
        with self._wake:
            self._is_closed = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="kv transfer", daemon=True)
            self._thread.start()
        self._wake.notify_all()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._is_busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._loads or self._saves or self._is_closed)
                if not (self._loads or self._saves):
                    return
                self._is_busy = True
                load = self._loads.popleft() if self._loads else None
                key = self._saves.popleft() if load is None else None
            try:
                if load is not None:
                    self._bring(load)
                elif key is not None:
                    self._keep(key)
            except Exception:  # a failed transfer is a cache miss; the engine continues
                _log.exception("KV could not be moved")
            finally:
                if load is not None:
                    load.is_done = True
                    self._loaded.set()
                elif key is not None:
                    del self._queued[key], self._origins[key]

    def _keep(self, key: bytes) -> None:
        kept = self._codec.encode(self._queued[key])
        if self.host is None:
            self._to_disk(key, kept)
            return
        while self.host.is_full:
            lowest, of_lowest = self.host.lowest()
            self._to_disk(lowest, of_lowest)
            self.host.drop(lowest)
        self.host.put(key, kept, self._origins[key])
        self._stats.bytes_to_host += len(kept)

    def _to_disk(self, key: bytes, kept: "Tensor | bytes") -> None:
        if self.disk is None or key in self.disk:
            return
        content = kept if isinstance(kept, bytes) else kept.cpu().numpy().tobytes()
        if self.disk.put(key, content):
            self._stats.bytes_to_disk += len(content)

    def _bring(self, load: Load) -> None:
        import torch

        with torch.inference_mode():
            self._import(load)

    def _import(self, load: Load) -> None:
        import torch

        for first in range(0, len(load.keys), _LOAD_PAGES):
            keys = load.keys[first : first + _LOAD_PAGES]
            rows = torch.empty(len(keys), self._page_bytes, dtype=torch.uint8)
            sources = self._read(keys, rows)
            if sources:
                pages = load.pages[first : first + len(sources)]
                self._store.import_pages(pages, rows[: len(sources)])
                load.num_host += sources.count("host")
                load.num_disk += sources.count("disk")
            if len(sources) < len(keys):
                break
        if self.disk is not None:  # the end first: a prefix is of more use than what follows it
            for key in reversed(load.keys[: load.num_pages]):
                self.disk.touch(key)

    def _read(self, keys: list[bytes], rows: "Tensor") -> list[str]:
        """Fill rows [P, bytes] in order until a page is missing; says where each came from."""
        sources: list[str] = []
        for key, row in zip(keys, rows.unbind(0), strict=True):
            held = self._queued.get(key)
            if held is not None:
                copy_row(held, row)
                sources.append("host")
            elif self.host is not None and (kept := self.host.get(key)) is not None:
                self._codec.decode(kept, row)
                self._stats.bytes_from_host += len(kept)
                sources.append("host")
            elif self._read_disk(key, row):
                sources.append("disk")
            else:
                break
        return sources

    def _read_disk(self, key: bytes, row: "Tensor") -> bool:
        if self.disk is None or key not in self.disk:
            return False
        if (content := self.disk.get(key)) is None:
            return False
        try:
            self._codec.decode(content, row)
        except ValueError as error:
            self.disk.reject(key, str(error))
            return False
        self._stats.bytes_from_disk += len(content)
        return True
