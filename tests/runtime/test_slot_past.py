"""Why a request waited: what its slot ran meanwhile, and why that went first."""

from typing import Any

import pytest

from backends.base import Request
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy
from backends.policy.fcfs import fcfs
from runtime.hints import Hint
from runtime.job import Job
from runtime.waiting.slot_past import MOST_NAMED, SlotPast, Wait, wait_from

HINT = Hint(0, 1.0)
GROUPED = Hint(0, 1.0, group="m")
BULK = Hint(0, 1.0, kind="throughput")


def job(query: str, path: str, arrival_s: float, hint: Hint = HINT, op: str = "call") -> Job:
    made = Job(
        Request(f"{query}{path}", op, ()), query, hint, lambda _: None, lambda _: None, path=path
    )
    made.arrival_s, made.due_s = arrival_s, arrival_s + 10.0
    return made


def waited(late: Job, *ran: tuple[Job, float, float], policy: Policy = application_aware) -> Wait:
    past = SlotPast()
    for first, began_s, ended_s in ran:
        past.ran([first], policy, began_s, ended_s)
    return past.wait_of(late, policy)


def test_only_the_time_after_its_arrival_counts() -> None:
    late = job("q2", "answer", 1.0)
    wait = waited(late, (job("q1", "a", 0.0), 0.0, 1.0), (job("q1", "b", 0.0), 0.5, 1.25))
    assert [(each.at, each.seconds, each.why) for each in wait.behind] == [("q1.b", 0.25, "slot")]


@pytest.mark.parametrize(
    ("first", "late", "why"),
    [
        (job("q1", "a", 0.0), job("q2", "b", 0.0), "turn"),
        (job("q1", "a", 0.0), job("q1", "b", 0.0), "rank"),
        (job("q1", "m[0].a", 0.0, GROUPED), job("q1", "m[1].a", 0.0, GROUPED), "group"),
        (job("q1", "a", 0.0), job("q2", "b", 0.0, BULK), "held"),
        (job("q1", "a", 0.0), job("q2", "b", 0.0, op="embed"), "op"),
    ],
)
def test_why_another_request_went_first(first: Job, late: Job, why: str) -> None:
    (behind,) = waited(late, (first, 0.5, 1.0)).behind
    assert behind.why == why


def test_under_fcfs_all_requests_stand_in_one_queue() -> None:
    first, late = job("q1", "a", 0.0), job("q2", "b", 0.0)
    assert waited(late, (first, 0.5, 1.0), policy=fcfs).behind[0].why == "rank"


def test_the_longest_are_named_and_the_others_counted() -> None:
    ran = [(job("q1", f"m[{n}]", 0.0), n * 1.0, n + 0.1 * n) for n in range(1, 9)]
    wait = waited(job("q2", "answer", 0.5), *ran)
    assert [each.at for each in wait.behind] == [f"q1.m[{n}]" for n in (8, 7, 6, 5, 4)]
    assert (len(wait.behind), wait.num_more) == (MOST_NAMED, 3)
    assert wait.more_s == pytest.approx(0.6)


def test_a_request_that_its_engine_refused_for_now_was_not_behind_itself() -> None:
    late = job("q1", "a", 0.0)
    assert waited(late, (late, 0.5, 1.0)) == Wait()


def test_a_wait_is_read_as_it_was_told() -> None:
    told: dict[str, Any] = waited(job("q2", "b", 0.0), (job("q1", "a", 0.0), 0.5, 1.0)).fields
    assert wait_from(told).fields == told
