"""Who holds which page: forks, copy on write, eviction order."""

from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable


def make_cache(num_pages: int = 8, page_size: int = 4) -> tuple[KVCache, list[tuple[int, int]]]:
    copies: list[tuple[int, int]] = []
    return KVCache(num_pages, page_size, lambda a, b: copies.append((a, b))), copies


def computed(cache: KVCache, num_tokens: int) -> PageTable:
    table = PageTable()
    assert cache.reserve(table, num_tokens)
    table.num_computed = num_tokens
    return table


def test_a_fork_shares_pages_and_copies_only_a_written_tail() -> None:
    cache, copies = make_cache()
    parent = computed(cache, 6)
    child = cache.fork(parent)
    assert child.pages == parent.pages
    assert cache.reserve(child, 7)
    assert child.pages[0] == parent.pages[0]
    assert copies == [(parent.pages[1], child.pages[1])]
    cache.check_integrity([parent, child])


def test_the_last_holder_of_a_tail_writes_in_place() -> None:
    cache, copies = make_cache()
    parent = computed(cache, 6)
    child = cache.fork(parent)
    cache.drop(parent)
    assert cache.reserve(child, 7)
    assert copies == []


def test_a_fork_of_whole_pages_copies_nothing() -> None:
    cache, copies = make_cache()
    parent = computed(cache, 8)
    child = cache.fork(parent)
    assert cache.reserve(child, 9)
    assert copies == []
    assert child.pages[:2] == parent.pages


def test_published_pages_are_found_by_others() -> None:
    cache, _ = make_cache()
    ids = list(range(10))
    first = computed(cache, 10)
    cache.publish(first, ids, 10)
    second = PageTable()
    assert cache.match(second, ids) == 8
    assert second.pages == first.pages[:2]
    cache.check_integrity([first, second])


def test_equal_tokens_computed_twice_end_on_one_page() -> None:
    cache, _ = make_cache()
    first, second = computed(cache, 4), computed(cache, 4)
    cache.publish(first, [1, 2, 3, 4], 4)
    cache.publish(second, [1, 2, 3, 4], 4)
    assert first.pages == second.pages
    assert cache.pool.num_free == 7


def test_unlocked_leaves_go_before_idle_contexts() -> None:
    cache, _ = make_cache(num_pages=4)
    leaf = computed(cache, 4)
    cache.publish(leaf, [1, 2, 3, 4], 4)
    cache.drop(leaf)
    idle = computed(cache, 8)
    cache.retire(idle)
    table = PageTable()
    assert cache.reserve(table, 8)
    assert idle.num_computed == 8
    assert cache.tree.num_pages == 0
    cache.check_integrity([table])


def test_the_idle_context_used_longest_ago_goes_first() -> None:
    cache, _ = make_cache(num_pages=4)
    old, recent = computed(cache, 4), computed(cache, 4)
    for table in (old, recent):
        cache.retire(table)
    cache.drop(cache.fork(old))  # used again: now the younger of the two
    assert cache.reserve(PageTable(), 12)
    assert (old.num_computed, recent.num_computed) == (4, 0)


def test_reserve_gives_up_when_running_tables_hold_everything() -> None:
    cache, _ = make_cache(num_pages=2)
    running = computed(cache, 8)
    table = PageTable()
    assert not cache.reserve(table, 1)
    assert table.pages == []
    cache.check_integrity([running, table])


def test_truncating_into_a_published_page_copies_it_before_writing() -> None:
    cache, copies = make_cache()
    table = computed(cache, 8)
    cache.publish(table, list(range(8)), 8)
    cache.truncate(table, 6)
    assert cache.reserve(table, 7)
    assert len(copies) == 1
    assert cache.match(PageTable(), list(range(8))) == 8


def test_dropping_twice_is_harmless() -> None:
    cache, _ = make_cache()
    table = computed(cache, 5)
    cache.drop(table)
    cache.drop(table)
    assert cache.pool.num_free == 8


def test_a_step_that_failed_takes_its_pages_from_all_who_counted_on_them() -> None:
    cache, _ = make_cache()
    ids = list(range(12))
    before = computed(cache, 4)
    cache.publish(before, ids, 4)
    cache.settle()
    writer, sibling = cache.fork(before), cache.fork(before)
    assert cache.reserve(writer, 12)
    cache.publish(writer, ids, 12)
    assert cache.match(sibling, ids) == 8
    cache.drop(writer)
    cache.unsettle([before, sibling])
    assert (before.num_computed, sibling.num_computed) == (4, 4)
    late = PageTable()
    assert cache.match(late, ids) == 4
    cache.check_integrity([before, sibling, late])


def test_who_drops_out_of_a_step_takes_what_it_named_and_did_not_write() -> None:
    cache, _ = make_cache()
    ids, table, other = list(range(12)), computed(cache, 4), PageTable()
    cache.publish(table, ids, 4)
    cache.settle()
    assert cache.reserve(table, 12)
    cache.publish(table, ids, 12)
    cache.drop(table)
    assert cache.match(other, ids) == 4
    cache.check_integrity([other])
