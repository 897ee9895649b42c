"""The lower tiers as the cache sees them: save pages by key, find them, bring them back."""

from backends.llm.cache_stats import CacheStats
from backends.llm.tiers.load import Load
from backends.llm.tiers.mover import Mover, PageStore
from backends.llm.tiers.page_key import PageKeys

_QUEUED_PAGES = 256  # most copies that wait to be saved; what comes then is not kept


class LowerTiers:
    """Used by the engine's thread, which never waits for a transfer but in `close`."""

    def __init__(self, store: PageStore, keys: PageKeys, mover: Mover, stats: CacheStats) -> None:
        self.keys = keys
        self.mover = mover
        self._store = store
        self._stats = stats

    def save(self, keys: list[bytes], pages: list[int], *, is_patient: bool = False) -> None:
        """Copy pages that are held nowhere below; the copies are moved later. When the queue is
        full the last pages are not kept, unless the caller is patient."""
        unknown = [i for i, key in enumerate(keys) if key not in self.mover]
        self._stats.known_pages += len(keys) - len(unknown)
        while unknown:
            room = max(0, _QUEUED_PAGES - self.mover.num_queued)
            if not room and not is_patient:
                self._stats.unsaved_pages += len(unknown)
                return
            if not room:
                self.mover.drain()
                continue
            now, unknown = unknown[:room], unknown[room:]  # no more than may wait
            self.mover.save(
                [keys[i] for i in now], self._store.export_pages([pages[i] for i in now])
            )
            self._stats.saved_pages += len(now)

    def find(self, last: bytes, ids: list[int], start: int, page_size: int) -> list[bytes]:
        """Keys of the pages from ids[start] on that are held below, up to the first that is not;
        `last` is the key of the page before."""
        found: list[bytes] = []
        while start + page_size <= len(ids):
            last = self.keys.following(last, ids, start)
            if last not in self.mover:
                break
            found.append(last)
            start += page_size
        return found

    def load(self, keys: list[bytes], pages: list[int]) -> Load:
        """Start to bring pages back."""
        load = Load(keys, pages)
        self._stats.num_loads += 1
        self.mover.load(load)
        return load
