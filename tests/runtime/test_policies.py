"""What the policies choose; pure functions, so plain tables."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from runtime.policy.base import Policy, Ticket
from runtime.policy.fcfs import fcfs
from runtime.policy.topology import topology


def tickets(*rows: tuple[str, int, int]) -> list[Ticket]:
    return [
        Ticket(i, float(i), query, depth, "embed", n) for i, (query, depth, n) in enumerate(rows)
    ]


def names(chosen: Sequence[Ticket]) -> str:
    return " ".join(f"{t.query}{t.depth}" for t in chosen)


def test_fcfs_takes_the_oldest_that_fit() -> None:
    assert names(fcfs(tickets(("a", 1, 3), ("b", 9, 3), ("c", 2, 1)), 4, 0.0)) == "a1 c2"


def test_topology_takes_the_deepest_of_each_query_first() -> None:
    waiting = tickets(("a", 0, 1), ("a", 5, 1), ("b", 2, 1), ("b", 7, 1))
    assert names(topology(waiting, 2, 0.0)) == "a5 b7"


def test_topology_leaves_no_room_while_work_waits() -> None:
    waiting = tickets(("a", 0, 1), ("a", 5, 1), ("b", 2, 1))
    assert names(topology(waiting, 3, 0.0)) == "a5 b2 a0"


def test_a_request_larger_than_a_batch_still_runs_alone() -> None:
    assert names(topology(tickets(("a", 1, 500), ("b", 1, 1)), 64, 0.0)) == "a1"


def test_a_batch_is_of_one_op() -> None:
    mixed = [Ticket(0, 0.0, "a", 1, "ingest", 1), Ticket(1, 0.0, "b", 1, "search", 1)]
    assert [t.op for t in fcfs(mixed, 8, 0.0)] == ["ingest"]


waiting_lists = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 80)), min_size=1
).map(lambda rows: tickets(*rows))


@given(waiting_lists, st.integers(1, 64), st.sampled_from([fcfs, topology]))
def test_a_policy_chooses_something_once_and_within_the_room(
    waiting: list[Ticket], room: int, policy: Policy
) -> None:
    chosen = list(policy(waiting, room, 0.0))
    assert chosen
    assert len({t.order for t in chosen}) == len(chosen)
    assert len(chosen) == 1 or sum(t.num_items for t in chosen) <= room
    left = [t for t in waiting if t not in chosen]
    free = room - sum(t.num_items for t in chosen)
    assert all(t.num_items > free for t in left)  # work-conserving


@given(waiting_lists, st.integers(1, 64))
def test_every_request_is_served_in_the_end(waiting: list[Ticket], room: int) -> None:
    served = 0
    while waiting:
        chosen = topology(waiting, room, 0.0)
        served += len(chosen)
        waiting = [t for t in waiting if t not in chosen]
    assert served
