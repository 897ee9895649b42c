"""The radix tree alone, against a plain dictionary of page-aligned prefixes."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backends.llm.kv.eviction import POLICIES, EvictionName
from backends.llm.kv.radix import RadixNode, RadixTree
from backends.llm.kv.tiers.page_key import PageKeys


def test_a_partial_match_splits_the_edge_at_a_page() -> None:
    tree = RadixTree(page_size=2)
    tree.insert([1, 2, 3, 4, 5, 6], [10, 11, 12])
    match = tree.match_prefix([1, 2, 3, 4, 9, 9])
    assert match.pages == [10, 11]
    assert match.node.key == [1, 2, 3, 4]
    tree.check_integrity()


def test_a_page_that_differs_in_its_last_token_does_not_match() -> None:
    tree = RadixTree(page_size=4)
    tree.insert([1, 2, 3, 4], [7])
    assert tree.match_prefix([1, 2, 3, 5]).pages == []


def test_tokens_beyond_the_last_whole_page_are_ignored() -> None:
    tree = RadixTree(page_size=4)
    tree.insert([1, 2, 3, 4], [7])
    assert tree.match_prefix([1, 2, 3, 4, 5, 6]).pages == [7]
    assert tree.match_prefix([1, 2, 3]).pages == []


def test_insert_tells_which_pages_stood_there() -> None:
    tree = RadixTree(page_size=1)
    tree.insert([1, 2], [10, 11])
    known, _ = tree.insert([1, 2, 3], [20, 21, 22])
    assert known == [10, 11]
    assert tree.match_prefix([1, 2, 3]).pages == [10, 11, 22]


def test_namespaces_do_not_see_each_other() -> None:
    tree = RadixTree(page_size=1)
    tree.insert([1, 2], [10, 11], extra_key="adapter")
    assert tree.match_prefix([1, 2]).pages == []
    assert tree.match_prefix([1, 2], extra_key="adapter").pages == [10, 11]


def test_the_leaf_used_longest_ago_goes_first_and_from_its_end() -> None:
    tree = RadixTree(page_size=1)
    tree.insert([1, 2, 3], [10, 11, 12])
    tree.insert([7, 8], [20, 21])
    tree.match_prefix([1, 2, 3])
    assert tree.evict(1) == [21]
    assert tree.evict(2) == [20, 12]
    assert tree.match_prefix([1, 2, 3]).pages == [10, 11]


def test_a_locked_path_is_never_evicted() -> None:
    tree = RadixTree(page_size=1)
    _, node = tree.insert([1, 2], [10, 11])
    tree.insert([1, 2, 3], [10, 11, 12])
    tree.lock(node)
    assert tree.evict(9) == [12]
    tree.unlock(node)
    assert sorted(tree.evict(9)) == [10, 11]
    assert tree.num_pages == 0


def test_unlock_without_lock_is_refused() -> None:
    tree = RadixTree(page_size=1)
    _, node = tree.insert([1], [10])
    with pytest.raises(AssertionError, match="unlock without lock"):
        tree.unlock(node)


def test_namespaces_leave_nothing_behind() -> None:
    tree = RadixTree(page_size=1)
    for i in range(100):
        tree.match_prefix([1], extra_key=f"tenant {i}")
        tree.insert([1], [i], extra_key=f"tenant {i}")
    assert len(tree.evict(100)) == 100
    tree.check_integrity()
    assert list(tree.nodes()) == []


def test_who_holds_a_node_goes_on_from_there() -> None:
    tree = RadixTree(page_size=2)
    ids = list(range(100))
    tree.insert(ids, list(range(50)))
    node = tree.match_prefix(ids[:80]).node
    tree.lock(node)
    compared = tree.num_pages_compared
    match = tree.match_prefix(ids, start=node)
    assert match.pages == list(range(40, 50))
    assert tree.num_pages_compared - compared == 10


def test_a_node_that_one_holder_grows_stays_one_edge() -> None:
    tree = RadixTree(page_size=1)
    _, node = tree.insert([1, 2], [10, 11])
    tree.lock(node)
    known, grown = tree.insert([1, 2, 3], [12], start=node)
    assert (known, grown) == ([], node)
    assert node.key == [1, 2, 3]
    tree.lock(node)  # a second holder: what comes now is a node of its own
    _, leaf = tree.insert([1, 2, 3, 4], [13], start=node)
    assert leaf.parent is node
    tree.check_integrity()


def test_what_nobody_holds_can_be_removed_with_all_below() -> None:
    tree = RadixTree(page_size=1)
    tree.insert([1, 2, 3], [10, 11, 12])
    tree.insert([1, 2, 4], [10, 11, 13])
    assert sorted(tree.remove(tree.match_prefix([1, 2]).node)) == [10, 11, 12, 13]
    assert tree.num_pages == 0
    tree.check_integrity()


@pytest.mark.parametrize("policy", ["lru", "lfu"])
def test_the_upper_part_of_a_cut_edge_was_used_when_the_whole_edge_was(
    policy: EvictionName,
) -> None:
    tree = RadixTree(page_size=1, policy=POLICIES[policy])
    tree.insert([7, 8], [20, 21])
    node = tree.insert([1, 2, 3, 4], [10, 11, 12, 13])[1]
    for ids in ([7, 8], [1, 2, 3, 4], [1, 2, 3, 4]):
        tree.match_prefix(ids)
    tree.ancestor(node, 2)
    assert sorted(tree.remove(node)) == [12, 13]
    assert sorted(tree.evict(2)) == [20, 21]


def test_what_is_never_used_again_ages_by_what_was_evicted_since() -> None:
    tree = RadixTree(page_size=1, policy=POLICIES["pgdsf"], cost=lambda *_: 1.0)
    tree.insert([0], [0])
    tree.match_prefix([0])
    tree.match_prefix([0])
    gone: list[int] = []
    for token in (1, 2, 3, 4):
        tree.insert([token], [token])
        gone += tree.evict(1)
    assert gone == [1, 2, 0, 3]


def test_a_page_that_takes_the_place_of_an_evicted_one_has_a_key_of_its_own() -> None:
    keys = PageKeys("a model", 1)
    tree = RadixTree(page_size=1)
    node = tree.insert([1, 2], [10, 11])[1]
    first, old = keys.of(node)
    tree.evict(1)
    tree.lock(node)
    assert tree.insert([1, 3], [12], start=node)[1] is node
    assert keys.of(node) == [first, keys.of(RadixTree(1).insert([1, 3], [10, 12])[1])[1]]
    assert keys.of(node)[1] != old


class TreeAgainstPrefixes(RuleBasedStateMachine):
    """Few tokens and short keys, so that prefixes are shared all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 2
        self.tree = RadixTree(self.size)
        self.known: dict[tuple[str, tuple[int, ...]], int] = {}  # (namespace, prefix) -> page
        self.locked: list[tuple[RadixNode, str, tuple[int, ...]]] = []
        self.num_pages = 0

    def expected(self, space: str, ids: list[int]) -> list[int]:
        pages = []
        for end in range(self.size, len(ids) + 1, self.size):
            if (space, tuple(ids[:end])) not in self.known:
                break
            pages.append(self.known[space, tuple(ids[:end])])
        return pages

    spaces = st.sampled_from(["", "a"])
    tokens = st.lists(st.integers(0, 2), max_size=11)

    @rule(space=spaces, ids=tokens)
    def insert(self, space: str, ids: list[int]) -> None:
        whole = ids[: len(ids) // self.size * self.size]
        pages = list(range(self.num_pages, self.num_pages + len(whole) // self.size))
        self.num_pages += len(pages)
        stood = self.expected(space, whole)
        known, _ = self.tree.insert(whole, pages, space)
        assert known == stood
        for i, page in enumerate(pages):
            self.known.setdefault((space, tuple(whole[: (i + 1) * self.size])), page)

    @rule(space=spaces, ids=tokens)
    def match(self, space: str, ids: list[int]) -> None:
        expected = self.expected(space, ids)
        assert self.tree.peek(ids, space) == expected
        assert self.tree.match_prefix(ids, space).pages == expected

    @precondition(lambda self: self.locked)
    @rule(data=st.data(), more=tokens)
    def match_from_a_node(self, data: st.DataObject, more: list[int]) -> None:
        node, space, prefix = data.draw(st.sampled_from(self.locked))
        ids = [*prefix, *more]
        known = len(prefix) // self.size
        expected = self.expected(space, ids)[known:]
        assert self.tree.peek(ids, space, node) == expected
        assert self.tree.match_prefix(ids, space, node).pages == expected

    @precondition(lambda self: self.locked)
    @rule(data=st.data(), num_tokens=st.integers(0, 11), more=tokens)
    def move_a_lock(self, data: st.DataObject, num_tokens: int, more: list[int]) -> None:
        """Up to a shorter prefix, then on to what the tree has of other tokens."""
        at = data.draw(st.integers(0, len(self.locked) - 1))
        node, space, prefix = self.locked[at]
        kept = prefix[: num_tokens // self.size * self.size]
        upper = self.tree.ancestor(node, len(kept))
        assert upper.end == len(kept)
        match = self.tree.match_prefix([*kept, *more], space, upper)
        self.tree.move_lock(node, match.node)
        whole = (*kept, *more)[: match.node.end]
        self.locked[at] = (match.node, space, whole)

    @rule(space=spaces, ids=tokens)
    def lock(self, space: str, ids: list[int]) -> None:
        match = self.tree.match_prefix(ids, space)
        self.tree.lock(match.node)
        prefix = tuple(ids[: len(match.pages) * self.size])
        self.locked.append((match.node, space, prefix))

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def unlock(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.locked) - 1))
        self.tree.unlock(self.locked.pop(at)[0])

    @rule(num_pages=st.integers(1, 4))
    def evict(self, num_pages: int) -> None:
        unlocked = len(self.known) - len(self.protected())
        gone = set(self.tree.evict(num_pages))
        assert len(gone) == min(num_pages, unlocked)
        self.known = {k: page for k, page in self.known.items() if page not in gone}
        for space, prefix in self.protected():
            assert (space, prefix) in self.known

    def protected(self) -> set[tuple[str, tuple[int, ...]]]:
        ends = ((s, p[:end]) for _, s, p in self.locked for end in range(2, len(p) + 1, 2))
        return set(ends)

    @invariant()
    def tree_is_sound(self) -> None:
        self.tree.check_integrity()
        assert sorted(self.tree.pages()) == sorted(self.known.values())


TreeAgainstPrefixes.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
test_the_tree_equals_a_dictionary_of_prefixes = TreeAgainstPrefixes.TestCase
