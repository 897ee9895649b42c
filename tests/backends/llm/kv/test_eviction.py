"""Which leaf goes first: each policy on its own, the order around it, and Belady's bound."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from backends.llm.kv.eviction import POLICIES, EvictionOrder, Use, rank
from backends.llm.kv.radix import RadixTree


def first_to_go(policy: str, **uses: Use) -> str:
    return min(uses, key=lambda name: rank(uses[name], POLICIES[policy]))


def test_lru_takes_what_was_used_longest_ago() -> None:
    assert first_to_go("lru", old=Use(last_used=1, num_uses=9), new=Use(last_used=2)) == "old"


def test_lfu_takes_what_was_used_least_often_and_the_older_of_equals() -> None:
    often = Use(last_used=1, num_uses=9)
    assert first_to_go("lfu", often=often, new=Use(last_used=5, num_uses=2)) == "new"
    assert first_to_go("lfu", old=Use(3, 2), new=Use(4, 2)) == "old"


def test_pgdsf_keeps_what_costs_more_to_compute_again() -> None:
    shallow = Use(last_used=2, num_uses=1, seconds_per_token=1e-4)
    deep = Use(last_used=1, num_uses=1, seconds_per_token=3e-4)
    assert first_to_go("pgdsf", shallow=shallow, deep=deep) == "shallow"
    assert first_to_go("lru", shallow=shallow, deep=deep) == "deep"


def test_pgdsf_forgets_an_old_favourite() -> None:
    favourite = Use(last_used=1, num_uses=5, seconds_per_token=1.0)
    assert first_to_go("pgdsf", favourite=favourite, new=Use(9, 1, 1.0, floor=2.0)) == "new"
    assert first_to_go("pgdsf", favourite=favourite, new=Use(9, 1, 1.0, floor=6.0)) == "favourite"


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "raise", "lower", "drop", "pop"]), st.integers(0, 5))
    )
)
def test_the_order_equals_a_sorted_list(actions: list[tuple[str, int]]) -> None:
    values: dict[int, int] = {item: item * 10 for item in range(6)}
    order: EvictionOrder[int] = EvictionOrder(lambda item: (float(values[item]), item))
    inside: set[int] = set()
    for action, item in actions:
        if action == "put":
            order.add(item)
            inside.add(item)
        elif action == "raise":
            values[item] += 15
        elif action == "lower":
            values[item] -= 15
            if item in inside:
                order.place(item)
        elif action == "drop":
            order.discard(item)
            inside.discard(item)
        elif inside:
            popped = order.pop()
            assert popped is not None
            assert popped[0] == min(inside, key=lambda i: (values[i], i))
            inside.remove(popped[0])
        assert len(order) == len(inside)
        assert (item in order) == (item in inside)


def test_the_order_forgets_what_was_discarded() -> None:
    order: EvictionOrder[int] = EvictionOrder(lambda item: (float(item), item))
    for item in range(10_000):
        order.add(item)
        order.discard(item)
    assert len(order._heap) < 200


def misses(policy: Any, trace: list[int], capacity: int) -> int:
    """Single pages through a tree of `capacity` pages."""
    tree, num_misses = RadixTree(1, POLICIES[policy]), 0
    for now, token in enumerate(trace):
        match = tree.match_prefix([token])
        if not match.pages:
            num_misses += 1
            if tree.num_pages == capacity:
                tree.evict(1)
            tree.insert([token], [now])
        tree.check_integrity()
    return num_misses


def fewest_misses(trace: list[int], capacity: int) -> int:
    """Belady's MIN, straight from its definition."""
    held: set[int] = set()
    num_misses = 0
    for now, token in enumerate(trace):
        if token in held:
            continue
        num_misses += 1
        if len(held) == capacity:
            rest = trace[now:]
            held.remove(max(held, key=lambda t: rest.index(t) if t in rest else len(trace)))
        held.add(token)
    return num_misses


@settings(max_examples=200, deadline=None)
@example([0, 2, 2, 1, 0], 2)
@given(st.lists(st.integers(0, 7), max_size=40), st.integers(1, 5))
def test_no_policy_beats_beladys_optimum(trace: list[int], capacity: int) -> None:
    for policy in POLICIES:
        assert misses(policy, trace, capacity) >= fewest_misses(trace, capacity)
