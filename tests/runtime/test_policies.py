"""What the policies choose first of what waits."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from backends.policy.application_aware import application_aware
from backends.policy.base import Policy, Ticket
from backends.policy.fcfs import fcfs
from backends.policy.topology import topology
from runtime.hints import Hint
from runtime.waiting.ready_queue import ReadyQueue


def choose(
    policy: Policy, waiting: Sequence[Ticket], max_items: int, now_s: float = 0.0
) -> Sequence[Ticket]:
    queue: ReadyQueue[Ticket] = ReadyQueue(policy)
    for ticket in waiting:
        queue.put(ticket)
    return queue.take(max_items, now_s)


def tickets(*rows: tuple[str, int, int]) -> list[Ticket]:
    return [
        Ticket(i, float(i), Hint(depth, depth + 1.0).at(query), "embed", n)
        for i, (query, depth, n) in enumerate(rows)
    ]


def names(chosen: Sequence[Ticket]) -> str:
    return " ".join(f"{t.place.query}{t.place.depth}" for t in chosen)


def test_fcfs_takes_the_oldest_that_fit() -> None:
    assert names(choose(fcfs, tickets(("a", 1, 3), ("b", 9, 3), ("c", 2, 1)), 4, 0.0)) == "a1 c2"


def test_topology_takes_the_deepest_of_each_query_first() -> None:
    waiting = tickets(("a", 0, 1), ("a", 5, 1), ("b", 2, 1), ("b", 7, 1))
    assert names(choose(topology, waiting, 2, 0.0)) == "a5 b7"


def test_topology_leaves_no_room_while_work_waits() -> None:
    waiting = tickets(("a", 0, 1), ("a", 5, 1), ("b", 2, 1))
    assert names(choose(topology, waiting, 3, 0.0)) == "a5 b2 a0"


def test_a_request_larger_than_a_batch_still_runs_alone() -> None:
    assert names(choose(topology, tickets(("a", 1, 500), ("b", 1, 1)), 64, 0.0)) == "a1"


def test_a_batch_is_of_one_op() -> None:
    mixed = [
        Ticket(0, 0.0, Hint(1, 1.0).at("a"), "ingest", 1),
        Ticket(1, 0.0, Hint(1, 1.0).at("b"), "search", 1),
    ]
    assert [t.op for t in choose(fcfs, mixed, 8, 0.0)] == ["ingest"]


def hinted(*rows: tuple[str, Hint]) -> list[Ticket]:
    return [
        Ticket(i, 0.0, hint.at(query), "embed", 1, due_s=10.0 if hint.kind == "throughput" else 0.0)
        for i, (query, hint) in enumerate(rows)
    ]


def orders(chosen: Sequence[Ticket]) -> list[int]:
    return [t.order for t in chosen]


def test_the_longest_way_to_the_end_goes_first_however_few_primitives_it_has() -> None:
    waiting = hinted(("a", Hint(3, 4.0)), ("a", Hint(1, 9.0)), ("b", Hint(0, 99.0)))
    assert orders(choose(application_aware, waiting, 1, 0.0)) == [1]
    assert orders(choose(application_aware, waiting, 2, 0.0)) == [1, 2]
    assert orders(choose(application_aware, waiting, 3, 0.0)) == [1, 2, 0]


MEMBER = Hint(1, 2.0, group="m")


def test_a_group_goes_as_a_unit_before_the_unit_of_the_next_query() -> None:
    waiting = hinted(("a", MEMBER), ("b", MEMBER), ("a", MEMBER), ("b", MEMBER), ("a", MEMBER))
    assert orders(choose(application_aware, waiting, 3, 0.0)) == [0, 2, 4]
    assert orders(choose(application_aware, waiting, 4, 0.0)) == [0, 2, 4, 1]


def test_in_a_group_the_longest_way_to_the_end_goes_first() -> None:
    levels = (2.0, 5.0, 3.0)
    waiting = hinted(*(("a", Hint(1, level_s, group="m")) for level_s in levels))
    assert orders(choose(application_aware, waiting, 2, 0.0)) == [1, 2]


def test_stages_of_a_group_are_units_of_their_own() -> None:
    later = Hint(0, 1.0, group="m")
    waiting = hinted(("a", later), ("a", MEMBER), ("b", Hint(0, 1.0)), ("a", MEMBER))
    assert orders(choose(application_aware, waiting, 4, 0.0)) == [1, 3, 2, 0]


def test_a_group_of_very_many_batches_lets_others_take_their_turns() -> None:
    most = 2 * application_aware.unit_batches  # requests that still are a unit, of two in a batch
    small = hinted(*[("a", MEMBER)] * most, ("b", MEMBER))
    large = hinted(*[("a", MEMBER)] * (most + 1), ("b", MEMBER))
    assert orders(choose(application_aware, small, 2, 0.0)) == [0, 1]
    assert orders(choose(application_aware, large, 2, 0.0)) == [0, most + 1]


BULK = Hint(5, 60.0, kind="throughput")


def test_bulk_work_goes_last_and_never_in_a_batch_that_somebody_waits_for() -> None:
    waiting = hinted(("a", BULK), ("b", BULK), ("b", Hint(0, 0.1)))
    assert orders(choose(application_aware, waiting, 8, 0.0)) == [2]
    assert orders(choose(application_aware, waiting[:2], 8, 0.0)) == [0, 1]


def test_bulk_work_that_is_due_is_bulk_no_more() -> None:
    waiting = hinted(("a", BULK), ("b", Hint(0, 0.1)))
    assert orders(choose(application_aware, waiting, 1, 9.9)) == [1]
    assert orders(choose(application_aware, waiting, 1, 10.0)) == [0]


hints = st.builds(
    lambda depth, group: Hint(depth, depth + 1.0, group),
    st.integers(0, 9),
    st.sampled_from([None, "m", "n"]),
)
waiting_lists = st.lists(
    st.tuples(st.sampled_from("abc"), hints, st.integers(1, 80)), min_size=1
).map(
    lambda rows: [
        Ticket(i, float(i), hint.at(query), "embed", n) for i, (query, hint, n) in enumerate(rows)
    ]
)
policies = st.sampled_from([fcfs, topology, application_aware])


@given(waiting_lists, st.integers(1, 64), policies)
def test_a_policy_chooses_something_once_and_within_the_room(
    waiting: list[Ticket], room: int, policy: Policy
) -> None:
    chosen = list(choose(policy, waiting, room, 0.0))
    assert chosen
    assert len({t.order for t in chosen}) == len(chosen)
    assert len(chosen) == 1 or sum(t.num_items for t in chosen) <= room
    left = [t for t in waiting if t not in chosen]
    free = room - sum(t.num_items for t in chosen)
    assert all(t.num_items > free for t in left)  # work-conserving


@given(waiting_lists, st.integers(1, 64), policies)
def test_every_request_is_served_in_the_end(
    waiting: list[Ticket], room: int, policy: Policy
) -> None:
    served = 0
    while waiting:
        chosen = choose(policy, waiting, room, 0.0)
        served += len(chosen)
        waiting = [t for t in waiting if t not in chosen]
    assert served
