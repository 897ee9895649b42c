"""An order that is kept from change to change is that of `in_order`, which looks at all anew."""

from collections.abc import Hashable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.place import Left, Place
from backends.policy.base import Policy, Ticket
from backends.policy.in_order import in_order
from backends.policy.named import POLICIES
from backends.policy.ordered import Ordered
from backends.policy.sorted_items import SortedItems

QUERIES = 4
ADD, REMOVE, CORRECT, SERVE = range(4)
CHANGES = st.lists(
    st.tuples(
        st.sampled_from((ADD, ADD, ADD, REMOVE, CORRECT, SERVE)),
        st.integers(0, QUERIES - 1),
        st.integers(0, 9),
    ),
    max_size=40,
)


def ticket_of(order: int, query: int, number: int, left: Left) -> Ticket:
    group = "map" if number % 3 == 0 else None
    place = Place(
        f"q{query}",
        float(number),
        depth=number % 4,
        group=group,
        node=f"n{number % 5}",
        work_s=float(query + 1),
        tenant=f"t{query % 2}",
        deadline_s=float(number) if number % 2 else None,
        left=left if query else None,
    )
    return Ticket(order, float(order), place, "decode", 1, num_known=number % 6)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
@settings(max_examples=40, deadline=None)
@given(changes=CHANGES)
def test_the_order_is_that_of_all_tickets_sorted_anew(
    policy: Policy, changes: list[tuple[int, int, int]]
) -> None:
    served: dict[Hashable, float] = {}
    since: dict[Hashable, int] = {}
    lefts = [Left(10.0 * query) for query in range(QUERIES)]
    tickets: list[Ticket] = []

    def value(flow: Hashable) -> float:
        return served.get(flow, 0.0)

    ordered: Ordered[Ticket] = Ordered(policy, value)
    for order, (change, query, number) in enumerate(changes):
        some = ticket_of(order, query, number, lefts[query])
        flow = policy.flow(some)
        if change == ADD:
            tickets.append(some)
            ordered.add(some)
        elif change == REMOVE and tickets:
            ordered.remove(tickets.pop(number % len(tickets)))
        elif change == CORRECT:
            lefts[query].work_s = float(number)
            ordered.reorder(flow)
        elif change == SERVE:
            served[flow] = value(flow) + number
            ordered.reorder(flow)
        present = {policy.flow(ticket) for ticket in tickets}
        since = {flow: age for flow, age in since.items() if flow in present}
        for ticket in tickets:
            since.setdefault(policy.flow(ticket), ticket.order)
        expected = in_order(policy, tickets, value, since=since)
        assert [*ordered] == expected
        assert sorted(tickets, key=ordered.position) == expected
        assert len(ordered) == len(tickets)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9) | st.none())))
def test_sorted_items_go_by_their_last_keys(puts: list[tuple[int, int | None]]) -> None:
    items: SortedItems[int] = SortedItems()
    keys: dict[int, tuple[int, int]] = {}
    for item, key in puts:
        if key is not None:
            keys[item] = (key, item)
            items.put(item, keys[item])
        elif item in keys:
            del keys[item]
            items.remove(item)
    assert [*items] == sorted(keys, key=lambda item: keys[item])
    assert [items.index(item) for item in items] == [*range(len(items))]
