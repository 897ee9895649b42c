"""Which pages are free and how many holders each taken page has. No memory here: see `kv_pool`."""

from collections import Counter
from collections.abc import Iterable


class PagePool:
    """`num_pages` pages, numbered from 0; a page is free again when its last holder releases it."""

    def __init__(self, num_pages: int, page_size: int) -> None:
        assert num_pages >= 1, "a pool without pages"
        self.num_pages = num_pages
        self.page_size = page_size
        self._refs = [0] * num_pages
        self._free = list(range(num_pages - 1, -1, -1))  # a stack: low numbers first

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_tokens(self) -> int:
        return self.num_pages * self.page_size

    def take(self) -> int:
        """A free page with one holder; the caller has made sure there is one."""
        assert self._free, "no free page"
        page = self._free.pop()
        self._refs[page] = 1
        return page

    def hold(self, page: int) -> None:
        """One more holder of a page that has some already."""
        assert self._refs[page] > 0, f"page {page} is free"
        self._refs[page] += 1

    def drop(self, page: int) -> None:
        """One holder less."""
        assert self._refs[page] > 0, f"page {page} is free already"
        self._refs[page] -= 1
        if not self._refs[page]:
            self._free.append(page)

    def is_shared(self, page: int) -> bool:
        return self._refs[page] > 1

    def pages_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.page_size)

    def check_integrity(self, held: Iterable[int]) -> None:
        """Raise AssertionError unless `held` (a page once a holder) is exactly what we counted."""
        holders = Counter(held)
        for page, refs in enumerate(self._refs):
            assert refs == holders[page], f"page {page}: {refs} counted, {holders[page]} holders"
        assert len(self._free) + len(holders) == self.num_pages, "free + held != all"
        assert not holders.keys() & set(self._free), "a held page is free"
