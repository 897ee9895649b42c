"""The queue serves any policy as a plain sort of everything would, and never slower as it grows."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from sys import getrefcount
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import ConfigError
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy, Ticket, by_age
from backends.policy.fcfs import fcfs
from backends.policy.in_order import in_order
from backends.policy.named import POLICIES, policy_named
from backends.policy.ranking import Ranking
from runtime.hints import Hint
from runtime.waiting import line
from runtime.waiting.ready_queue import ReadyQueue

# A user's own policy: two classes of queries take turns, each by deadline, a class's kin together.
by_class = Policy(
    "by_class",
    flow=lambda ticket: ticket.place.query in "ab",
    unit=lambda ticket: ticket.place.group,
    rank=lambda ticket: ticket.due_s,
    unit_batches=1,
)


# The oracle: what a policy means, sorted anew for every batch.


def naive_batch(
    policy: Policy, waiting: Sequence[Ticket], max_items: int, now_s: float
) -> list[Ticket]:
    free = [t for t in waiting if policy.held_until_s(t) <= max(now_s, t.arrival_s)]
    if not free:
        return fill(sorted(waiting, key=lambda t: t.order), max_items)
    most = policy.unit_batches * max_items
    op = in_order(policy, free, no_account, most)[0].op
    line = in_order(policy, [t for t in free if t.op == op], no_account, most)
    return fill(first_round(policy, line, most) if policy.max_rounds else line, max_items)


def no_account(flow: Hashable) -> float:
    return 0.0


def first_round(policy: Policy, line: Sequence[Ticket], most: int) -> list[Ticket]:
    """Of each flow its first unit, or the first request of one that is too large."""
    firsts = {policy.flow(t): t for t in reversed(line)}
    found = []
    for ticket in line:
        first = firsts[policy.flow(ticket)]
        key = policy.unit(first)
        kin = [t for t in line if policy.flow(t) == policy.flow(first) and policy.unit(t) == key]
        is_whole = key is not None and sum(t.num_items for t in kin) <= most
        if ticket is first or (is_whole and ticket in kin):
            found.append(ticket)
    return found


def fill(candidates: Sequence[Ticket], max_items: int) -> list[Ticket]:
    """The longest head of `candidates` of one op that fits; the first always fits."""
    chosen: list[Ticket] = []
    room = max_items
    for ticket in candidates:
        if not chosen or (ticket.op == chosen[0].op and ticket.num_items <= room):
            chosen.append(ticket)
            room -= ticket.num_items
    return chosen


hints = st.builds(
    lambda depth, group, kind: Hint(depth, depth + 1.0, group, kind),
    st.integers(0, 4),
    st.sampled_from([None, "m", "n"]),
    st.sampled_from(["latency", "latency", "throughput"]),
)
arrivals = st.tuples(
    st.sampled_from("abc"),
    hints,
    st.sampled_from(["search", "search", "ingest"]),
    st.integers(1, 9),
    st.integers(0, 40),
)
steps = st.lists(
    st.one_of(
        arrivals,
        arrivals,
        st.integers(1, 12).map(lambda room: ("take", room)),
        st.integers(0, 99).map(lambda nth: ("cancel", nth)),
    ),
    max_size=60,
)


# Overdue requests and accounts are tested apart.
PLAIN = [
    replace(policy, patience_s=None, account=None) for policy in (*POLICIES.values(), by_class)
]


@given(steps, st.sampled_from(PLAIN))
def test_every_batch_is_the_one_that_sorting_all_that_waits_would_give(
    steps: list[Any], policy: Policy
) -> None:
    queue: ReadyQueue[Ticket] = ReadyQueue(policy)
    waiting: list[Ticket] = []
    for now_s, step in enumerate(steps):
        match step:
            case ("take", room) if waiting:
                batch = list(queue.take(room, float(now_s)))
                assert batch == naive_batch(policy, waiting, room, float(now_s))
                waiting = [t for t in waiting if t not in batch]
            case ("cancel", nth) if waiting:
                queue.remove(waiting.pop(nth % len(waiting)))
            case (query, Hint() as hint, op, num_items, late_s):
                op = op if policy.turn is by_age else "search"  # else a flow is of one op
                due_s = now_s + late_s
                ticket = Ticket(now_s, float(now_s), hint.at(query), op, num_items, float(due_s))
                waiting.append(ticket)
                queue.put(ticket)
        assert len(queue) == len(waiting)


@pytest.mark.parametrize("policy", [*POLICIES.values(), by_class], ids=lambda policy: policy.name)
@pytest.mark.parametrize("room", [1, 16])
def test_forming_a_batch_looks_at_few_of_those_that_wait(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, room: int
) -> None:
    """Heap entries read for each request: no more of them when sixteen times as many wait."""
    reads = 0
    least = Ranking._least

    def counted(ranking: Ranking[Any]) -> Any:
        nonlocal reads
        reads += 1
        return least(ranking)

    monkeypatch.setattr(Ranking, "_least", counted)

    def reads_each(count: int) -> float:
        nonlocal reads
        queue: ReadyQueue[Ticket] = ReadyQueue(policy)
        for i in range(count):
            hint = Hint(i % 7, i % 5 + 1.0, "m" if i % 3 else None)
            queue.put(Ticket(i, 0.0, hint.at(f"q{i % 40}"), "embed", 1, float(i)))
        reads = 0
        while queue:
            queue.take(room, 0.0)
        return reads / count

    assert reads_each(4000) < 1.5 * reads_each(250)


def test_a_batch_goes_when_many_in_turn_did_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits that is too large for the room left, a batch does not look at all."""
    monkeypatch.setattr(line, "MAX_PASSED", 3)
    queue: ReadyQueue[Ticket] = ReadyQueue(fcfs)
    for i, num_items in enumerate((5, 9, 9, 9, 3)):
        queue.put(Ticket(i, 0.0, Hint(0, 1.0).at("q"), "embed", num_items))
    assert [t.order for t in queue.take(8, 0.0)] == [0]
    assert [t.order for t in queue.take(12, 0.0)] == [1, 4]


def test_requests_that_left_are_not_kept() -> None:
    ranking: Ranking[object] = Ranking()
    ranking.put("first", 0)
    left = object()
    was = getrefcount(left)
    ranking.put(left, 1)
    ranking.remove(left)
    for i in range(2, 1000):
        ranking.put("late", i)
        ranking.remove("late")
    assert getrefcount(left) == was
    assert ranking.pop() == "first"


def test_policies_have_names() -> None:
    assert policy_named("fcfs") is fcfs
    assert policy_named(by_class) is by_class
    with pytest.raises(ConfigError, match=r"'lifo'; known: application_aware, .*fcfs, .*topology"):
        policy_named("lifo")
    assert POLICIES[application_aware.name] is application_aware
