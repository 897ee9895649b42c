"""Where nobody says when contexts are read, `next_use` keeps exactly what `lru` keeps."""

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.llm.kv.cache import KVCache
from backends.llm.kv.eviction import EvictionName
from backends.llm.kv.page_table import PageTable
from backends.llm.options import LLMOptions

SIZE = 2
ACTIONS = st.tuples(
    st.sampled_from(("prompt", "read", "release")), st.integers(0, 5), st.integers(0, 2)
)


class Pool:
    """Contexts of a small pool, and what each action leaves of them."""

    def __init__(self, eviction: EvictionName) -> None:
        self.now_s = 0.0
        self.cache = KVCache(12, SIZE, lambda *_: None, eviction, clock=lambda: self.now_s)
        self._contexts: list[tuple[PageTable, list[int]]] = []

    def do(self, action: str, number: int, passed_s: int) -> list[int]:
        self.now_s += passed_s
        if action == "prompt":
            self._compute(PageTable(), [number, *range(number % 3 * 3 + 4)])
        elif self._contexts:
            at = number % len(self._contexts)
            table, ids = self._contexts[at]
            if action == "read":
                self._compute(self.cache.fork(table), [*ids, 100 + number])
            else:
                del self._contexts[at]
                self.cache.release(table)
        self.cache.check_integrity()
        stats = self.cache.take_stats()
        return [stats.free_pages, stats.tree_pages, *(t.num_computed for t, _ in self._contexts)]

    def _compute(self, table: PageTable, ids: list[int]) -> None:
        self.cache.match(table, ids)
        if not self.cache.reserve(table, len(ids)):
            self.cache.drop(table)
            return
        self.cache.publish(table, ids, len(ids))
        table.num_computed = len(ids)
        self.cache.settle()
        self.cache.retire(table)
        self._contexts.append((table, ids))


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_without_a_plan_next_use_is_lru(actions: list[tuple[str, int, int]]) -> None:
    lru, next_use = Pool("lru"), Pool("next_use")
    for action in actions:
        assert lru.do(*action) == next_use.do(*action)


def test_next_use_is_the_default() -> None:
    assert LLMOptions().eviction == "next_use"
