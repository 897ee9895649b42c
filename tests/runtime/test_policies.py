"""What the policies choose first of what waits."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from backends.place import Left, Place
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy, Ticket
from backends.policy.critical_path import critical_path
from backends.policy.fcfs import fcfs
from backends.policy.least_slack import least_slack
from backends.policy.named import POLICIES
from backends.policy.parrot import parrot
from backends.policy.per_invocation import per_invocation
from backends.policy.shortest_remaining import shortest_remaining
from backends.policy.topology import topology
from backends.policy.topology_published import topology_published
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


def test_the_query_with_least_left_goes_first_by_its_longest_way_and_with_all_that_waits() -> None:
    waiting = hinted(("a", Hint(3, 4.0)), ("b", Hint(0, 8.0)), ("a", Hint(1, 9.0)))
    assert orders(choose(application_aware, waiting, 1, 0.0)) == [1]
    assert orders(choose(application_aware, waiting, 2, 0.0)) == [1, 2]
    assert orders(choose(application_aware, waiting, 3, 0.0)) == [1, 2, 0]
    assert orders(choose(shortest_remaining, waiting, 3, 0.0)) == [1, 2, 0]


def test_a_query_is_overtaken_only_within_half_of_what_it_asks_for() -> None:
    def at(order: int, since_s: float, work_s: float) -> Ticket:
        place = Place(f"q{order}", 1.0, left=Left(work_s, since_s))
        return Ticket(order, 50.0, place, "decode", 1)

    long, soon, late = at(0, 0.0, 40.0), at(1, 18.0, 2.0), at(2, 21.0, 2.0)
    assert orders(choose(application_aware, [long, soon], 1, 50.0)) == [1]
    assert orders(choose(application_aware, [long, late], 1, 50.0)) == [0]


def test_what_is_left_may_change_while_a_request_waits() -> None:
    one, two = Left(10.0), Left(20.0)
    queue: ReadyQueue[Ticket] = ReadyQueue(application_aware)
    queue.put(Ticket(0, 0.0, Place("one", 1.0, left=one), "decode", 1))
    queue.put(Ticket(1, 0.0, Place("two", 1.0, left=two), "decode", 1))
    two.work_s = 4.0
    queue.put(Ticket(2, 0.0, Place("two", 1.0, left=two), "decode", 1))
    assert [queue.take(1, 0.0)[0].order for _ in range(3)] == [1, 2, 0]


def test_a_guess_goes_when_nothing_else_waits_whatever_the_policy() -> None:
    for policy in POLICIES.values():
        queue: ReadyQueue[Ticket] = ReadyQueue(policy)
        guess = Left(0.0, is_guess=True)
        queue.put(Ticket(0, 0.0, Place("guess", 0.1, left=guess), "decode", 1))
        for order in (1, 2):
            place = Place(f"q{order}", 9.0, left=Left(9.0, 50.0))
            queue.put(Ticket(order, 50.0, place, "decode", 1))
        taken = [queue.take(1, 100.0)[0].order for _ in range(3)]
        assert taken == [1, 2, 0], policy.name


MEMBER = Hint(1, 2.0, group="m")


def test_a_group_goes_as_a_unit_before_the_unit_of_the_next_query() -> None:
    waiting = hinted(("a", MEMBER), ("b", MEMBER), ("a", MEMBER), ("b", MEMBER), ("a", MEMBER))
    for policy in (application_aware, parrot):
        assert orders(choose(policy, waiting, 3, 0.0)) == [0, 2, 4]
        assert orders(choose(policy, waiting, 4, 0.0)) == [0, 2, 4, 1]


def test_in_a_group_the_longest_way_to_the_end_goes_first() -> None:
    levels = (2.0, 5.0, 3.0)
    waiting = hinted(*(("a", Hint(1, level_s, group="m")) for level_s in levels))
    assert orders(choose(application_aware, waiting, 2, 0.0)) == [1, 2]


def test_stages_of_a_group_are_units_of_their_own() -> None:
    later = Hint(0, 1.0, group="m")
    waiting = hinted(("a", later), ("a", MEMBER), ("b", Hint(0, 1.0)), ("a", MEMBER))
    assert orders(choose(parrot, waiting, 4, 0.0)) == [0, 1, 3, 2]
    assert orders(choose(application_aware, waiting, 4, 0.0)) == [2, 1, 3, 0]


def test_of_a_group_of_very_many_batches_a_batch_takes_single_requests() -> None:
    most = 2 * parrot.unit_batches  # requests that still are a unit, of two in a batch
    small = hinted(*[("a", MEMBER)] * most, ("b", MEMBER))
    large = hinted(("b", MEMBER), *[("a", MEMBER)] * (most + 1))
    gang = replace(parrot, flow=lambda ticket: ticket.place.query)
    assert orders(choose(gang, small, 2, 0.0)) == [0, 1]
    assert orders(choose(gang, large, 2, 0.0)) == [0, 1]


def test_peers_of_one_prefix_go_together_whatever_query_they_are_of() -> None:
    alike, other = Hint(0, 1.0, node="app.answer"), Hint(0, 1.0, node="app.rewrite")
    waiting = hinted(("a", alike), ("b", other), ("c", alike))
    assert orders(choose(parrot, waiting, 3, 0.0)) == [0, 2, 1]


def test_a_batch_of_one_invocation_is_shared_with_no_other() -> None:
    item, single = Hint(1, 2.0, node="app.m[].v"), Hint(1, 2.0, node="app.v")
    waiting = hinted(("a", item), ("b", single), ("a", item), ("a", single))
    assert orders(choose(per_invocation, waiting, 8, 0.0)) == [0, 2]
    assert orders(choose(per_invocation, waiting[1:], 8, 0.0)) == [1]


def test_topology_as_published_leaves_room_while_work_waits() -> None:
    deep, flat = Hint(5, 6.0, node="g.deep"), Hint(0, 1.0, node="g.flat")
    waiting = hinted(("a", flat), ("a", deep), ("b", flat))
    assert orders(choose(topology_published, waiting, 3, 0.0)) == [1, 2]
    assert orders(choose(topology, waiting, 3, 0.0)) == [1, 2, 0]


def test_on_the_critical_path_a_longer_way_counts_as_an_earlier_arrival() -> None:
    def at(order: int, arrival_s: float, left_s: float) -> Ticket:
        return Ticket(order, arrival_s, Place("q", left_s), "decode", 1)

    waiting = [at(0, 0.0, 1.0), at(1, 5.0, 7.0), at(2, 9.0, 9.0)]
    assert orders(choose(critical_path, waiting, 1, 9.0)) == [1]
    assert orders(choose(critical_path, [waiting[0], waiting[2]], 1, 9.0)) == [0]


def test_the_least_slack_goes_first_and_no_deadline_is_a_late_one() -> None:
    def due(order: int, deadline_s: float | None, left_s: float) -> Ticket:
        return Ticket(order, 0.0, Place("q", left_s, deadline_s=deadline_s), "decode", 1)

    waiting = [due(0, None, 1.0), due(1, 10.0, 1.0), due(2, 12.0, 5.0)]
    assert [orders(choose(least_slack, waiting[: n + 1], 1, 0.0)) for n in range(3)] == [
        [0],
        [1],
        [2],
    ]


BULK = Hint(5, 60.0, kind="throughput")


def test_bulk_work_goes_last_and_never_in_a_batch_that_somebody_waits_for() -> None:
    waiting = hinted(("a", BULK), ("b", BULK), ("b", Hint(0, 0.1)))
    assert orders(choose(application_aware, waiting, 8, 0.0)) == [2]
    assert orders(choose(application_aware, waiting[:2], 8, 0.0)) == [0, 1]


def test_bulk_work_that_is_due_is_bulk_no_more() -> None:
    waiting = hinted(("a", BULK), ("b", Hint(0, 0.1)))
    assert orders(choose(parrot, waiting, 1, 9.9)) == [1]
    assert orders(choose(parrot, waiting, 1, 10.0)) == [0]


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
policies = st.sampled_from([each for each in POLICIES.values() if each.max_rounds is None])


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
