"""The index of the lower tiers: save pages by key, find them, load them back."""

from backends.llm.kv.page_table import Load
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

    def save(self, keys: list[bytes], pages: list[int], *, is_patient: bool = False) -> None:
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
            self.worker.save(
                [keys[i] for i in now], self._store.export_pages([pages[i] for i in now])
            )
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
