"""What fair policies promise, for any arrivals: bounds of service, of delay, and of waiting."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.place import Place
from backends.policy.base import Policy, Service, Ticket
from backends.policy.dlpm import QUANTUM, dlpm
from backends.policy.justitia import justitia
from backends.policy.named import POLICIES
from backends.policy.plas import plas
from backends.policy.virtual_time import VirtualFinish
from backends.policy.vtc import vtc
from runtime.waiting import ready_queue
from runtime.waiting.ready_queue import ReadyQueue


@dataclass(frozen=True)
class Asked:
    """A request of a tenant: what it costs, and how long it runs."""

    tenant: str
    prefill: int
    decode: int
    seconds: int

    @property
    def cost(self) -> float:
        return self.prefill + 2.0 * self.decode


requests = st.builds(
    Asked,
    st.sampled_from("abc"),
    st.integers(1, 3000),
    st.integers(0, 1500),
    st.integers(1, 9),
)


def widest_gap(
    policy: Policy, asked: Sequence[Asked], num_slots: int, batch: int = 1
) -> tuple[float, float]:
    """The largest difference in service, over any time, between two tenants that both wait all
    of it; and the most that one request costs. All requests wait from the start."""
    queue: ReadyQueue[Ticket] = ReadyQueue(policy)
    left = defaultdict(int)
    for order, each in enumerate(asked):
        left[each.tenant] += 1
        queue.put(Ticket(order, 0.0, Place(f"q{order}", 1.0, tenant=each.tenant), "decode", 1))
    served: dict[str, float] = dict.fromkeys(left, 0.0)
    running: list[tuple[int, int]] = []
    gaps: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0])
    tickets: dict[int, Ticket] = {}
    now = 0
    while queue or running:
        while queue and len(running) <= (num_slots - 1) * batch:
            for ticket in queue.take(batch, float(now)):
                tickets[ticket.order] = ticket
                left[asked[ticket.order].tenant] -= 1
                heapq.heappush(running, (now + asked[ticket.order].seconds, ticket.order))
        now, order = heapq.heappop(running)
        each = asked[order]
        queue.serve(tickets[order], Service(each.seconds, each.prefill, each.decode))
        served[each.tenant] += each.cost
        for one in served:
            for other in served:
                if left[one] and left[other]:
                    gaps[one, other].append(served[one] - served[other])
    widest = max((max(found) - min(found) for found in gaps.values()), default=0.0)
    return widest, max(each.cost for each in asked)


many = st.lists(requests, min_size=1, max_size=60)


@given(many, st.integers(1, 4), st.integers(1, 4))
def test_vtc_two_tenants_that_wait_differ_by_two_of_the_costliest_a_place(
    asked: list[Asked], num_slots: int, batch: int
) -> None:
    widest, costliest = widest_gap(vtc, asked, num_slots, batch)
    assert widest <= 2 * num_slots * batch * costliest


def test_vtc_a_batch_is_fair_where_requests_cost_unlike_amounts() -> None:
    asked = [Asked("a", 1, 0, 1)] * 3000 + [Asked("b", 1000, 0, 1)] * 300
    widest, costliest = widest_gap(vtc, asked, 1, batch=4)
    assert widest <= 2 * 4 * costliest


@given(many, st.integers(1, 4), st.integers(1, 4))
def test_dlpm_two_tenants_that_wait_differ_by_their_deficits_more(
    asked: list[Asked], num_slots: int, batch: int
) -> None:
    widest, costliest = widest_gap(dlpm, asked, num_slots, batch)
    assert widest <= 2 * (QUANTUM + num_slots * batch * costliest)


def test_first_come_first_served_has_no_such_bound() -> None:
    asked = [Asked("a", 100, 0, 1)] * 50 + [Asked("b", 100, 0, 1)] * 50
    assert widest_gap(POLICIES["fcfs"], asked, 1)[0] == 4900.0
    assert widest_gap(vtc, asked, 1)[0] <= 200.0


def test_a_tenant_that_asked_for_nothing_comes_back_without_credit() -> None:
    queue: ReadyQueue[Ticket] = ReadyQueue(vtc)

    def asks(order: int, tenant: str) -> Ticket:
        ticket = Ticket(order, 0.0, Place(f"q{order}", 1.0, tenant=tenant), "decode", 1)
        queue.put(ticket)
        return ticket

    for order in range(5):
        asks(order, "busy")
    for _ in range(3):
        queue.serve(queue.take(1, 0.0)[0], Service(prefill_tokens=100))
    asks(10, "new")
    asks(11, "new")
    order_of = []
    while queue:
        (ticket,) = queue.take(1, 0.0)
        queue.serve(ticket, Service(prefill_tokens=100))
        order_of.append(ticket.place.tenant)
    assert order_of == ["busy", "new", "busy", "new"]


# Justitia


@dataclass(frozen=True)
class Agent:
    """A query that arrives with all of its requests, each of so many seconds."""

    at: int
    seconds: tuple[int, ...]


agents = st.lists(
    st.builds(
        Agent, st.integers(0, 40), st.lists(st.integers(1, 6), min_size=1, max_size=6).map(tuple)
    ),
    min_size=1,
    max_size=12,
)


def ideal_ends(asked: Sequence[Agent]) -> list[float]:
    """When each ends at a server that all who are there share in equal parts."""
    left = [float(sum(agent.seconds)) for agent in asked]
    ends = [0.0] * len(asked)
    now = 0.0
    open_ = set(range(len(asked)))
    while open_:
        here = [i for i in open_ if asked[i].at <= now + 1e-9]
        coming = [asked[i].at for i in open_ if asked[i].at > now + 1e-9]
        if not here:
            now = float(min(coming))
            continue
        first = min(left[i] for i in here) * len(here)
        step = min([first, *(at - now for at in coming)])
        now += step
        for i in here:
            left[i] -= step / len(here)
            if left[i] < 1e-6:
                ends[i] = now
                open_.discard(i)
    return ends


def ends_under(policy: Policy, asked: Sequence[Agent]) -> list[float]:
    """When each ends at a server that runs one request at a time."""
    queue: ReadyQueue[Ticket] = ReadyQueue(policy)
    waiting = sorted(enumerate(asked), key=lambda each: each[1].at)
    seconds: dict[int, tuple[int, int]] = {}
    ends = [0.0] * len(asked)
    now, order = 0.0, 0
    while waiting or queue:
        if not queue:
            now = max(now, float(waiting[0][1].at))
        while waiting and waiting[0][1].at <= now:
            number, agent = waiting.pop(0)
            for each in agent.seconds:
                place = Place(f"q{number}", 1.0, work_s=float(sum(agent.seconds)))
                seconds[order] = (number, each)
                queue.put(Ticket(order, float(agent.at), place, "decode", 1))
                order += 1
        (ticket,) = queue.take(1, now)
        number, each = seconds[ticket.order]
        now += each
        ends[number] = now
    return ends


@given(agents)
def test_justitia_no_query_ends_later_than_under_equal_shares_but_for_the_longest_request(
    asked: list[Agent],
) -> None:
    longest = max(max(agent.seconds) for agent in asked)
    for end, ideal in zip(ends_under(justitia, asked), ideal_ends(asked), strict=True):
        assert end <= ideal + longest + 1e-6


def test_justitia_queries_end_one_after_another_where_equal_shares_end_them_together() -> None:
    asked = [Agent(0, (1,) * 4), Agent(0, (1,) * 4), Agent(0, (1,) * 4)]
    assert ends_under(justitia, asked) == [4.0, 8.0, 12.0]
    assert ideal_ends(asked) == pytest.approx([12.0, 12.0, 12.0])


def test_justitia_queries_that_say_they_are_long_are_forgotten_with_their_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backends.policy.accounts.MOST_IDLE", 8)
    account = VirtualFinish()
    for number in range(100):
        place = Place(f"q{number}", 1.0, work_s=1e9)
        ticket = Ticket(number, float(number), place, "decode", 1)
        account.arrived(place.query, ticket, float(number))
        account.left(place.query, ticket)
    assert len(account._values) == len(account._ideal) == 8


# Programs


def test_the_program_that_was_served_least_goes_first() -> None:
    queue: ReadyQueue[Ticket] = ReadyQueue(plas)

    def asks(order: int, program: str) -> None:
        place = Place(f"q{order}", 1.0, program=program)
        queue.put(Ticket(order, 0.0, place, "decode", 1))

    for order, program in enumerate(("long", "long", "new", "long", "new")):
        asks(order, program)
    taken = []
    while queue:
        (ticket,) = queue.take(1, 0.0)
        queue.serve(ticket, Service(seconds=3.0 if ticket.place.program == "long" else 1.0))
        taken.append(ticket.place.program)
    assert taken == ["long", "new", "new", "long", "long"]


@pytest.mark.parametrize(("name", "expected"), [("plas", "fan"), ("atlas", "chain")])
def test_calls_side_by_side_count_once_on_the_critical_path(name: str, expected: str) -> None:
    """Two calls of 2 s after another, beside three of 1.5 s at once."""
    policy = POLICIES[name]
    queue: ReadyQueue[Ticket] = ReadyQueue(policy)

    def taken(order: int, program: str) -> Ticket:
        queue.put(Ticket(order, 0.0, Place("q", 1.0, program=program), "decode", 1))
        return queue.take(1, 0.0)[0]

    for order in range(2):
        queue.serve(taken(order, "chain"), Service(seconds=2.0))
    fan = [taken(order, "fan") for order in range(2, 5)]
    for ticket in fan:
        queue.serve(ticket, Service(seconds=1.5))
    for order, program in ((10, "chain"), (11, "fan")):
        queue.put(Ticket(order, 0.0, Place("q", 1.0, program=program), "decode", 1))
    last = [ticket.place.program for ticket in (queue.take(1, 0.0)[0], queue.take(1, 0.0)[0])][-1]
    assert last == expected


# No request starves


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
def test_a_request_is_served_however_many_better_ones_keep_coming(policy: Policy) -> None:
    """Each second short queries come, of tenants and programs of their own, and one is served: two
    come, so that the line grows for ever. Where shares are equal only one, which is expected to be
    half the work: else the shares themselves become ever smaller."""
    queue: ReadyQueue[Ticket] = ReadyQueue(policy)
    starved = Ticket(0, 0.0, Place("long", 500.0, 0, tenant="long", work_s=500.0), "decode", 1)
    queue.put(starved)
    order = 0
    for second in range(4000):
        for _ in range(1 if policy is justitia else 2):
            order += 1
            due_s = second + 9.0
            place = Place(f"q{order}", 1.0, 9, tenant=f"t{order}", work_s=0.5, deadline_s=due_s)
            queue.put(Ticket(order, float(second), place, "decode", 1))
        (ticket,) = queue.take(1, float(second))
        queue.serve(ticket, Service(1.0, 10, 10))
        if ticket is starved:
            return
    pytest.fail(f"{policy.name}: it never had its turn")


def test_under_overload_old_requests_get_a_share_and_not_all_turns() -> None:
    queue: ReadyQueue[Ticket] = ReadyQueue(POLICIES["shortest_remaining"])
    for order in range(100):
        queue.put(Ticket(order, 0.0, Place(f"old{order}", 9.0), "decode", 1))
    for order in range(100, 180):
        queue.put(Ticket(order, 50.0, Place(f"new{order}", 1.0), "decode", 1))
    taken = [queue.take(1, 50.0)[0].place.query[:3] for _ in range(80)]
    assert taken.count("old") == 80 // ready_queue.OVERDUE_EACH


def test_policies_without_patience_keep_no_line_of_arrivals() -> None:
    queue: ReadyQueue[Ticket] = ReadyQueue(POLICIES["application_aware"])
    for order in range(100):
        queue.put(Ticket(order, 0.0, Place("q", 1.0), "decode", 1))
    assert not queue._arrivals
