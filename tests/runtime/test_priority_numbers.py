"""What engines are sent that order by one number a request: the larger is the more urgent."""

import asyncio
from dataclasses import replace
from typing import Any

from backends.base import EngineInfo, Request
from backends.place import Left, Place
from backends.policy.named import POLICIES
from backends.policy.vtc import vtc
from runtime.clock import now, run_virtual
from runtime.hints import Hint
from runtime.job import Job
from runtime.priority_numbers import CLASS, PER_S, requests_for

PLAIN = EngineInfo("llm", "m")
BY_NUMBER = replace(PLAIN, capabilities=frozenset(("priorities",)))


def job(left_s: float, begun_s: float = 0.0, priority: int = 0, **place: Any) -> Job:
    request = Request("r", "decode", (), priority=priority)
    at = Place("q", left_s, left=Left(left_s, begun_s), **place)
    made = Job(request, "q", Hint(0, 0.0), lambda _: None, lambda _: None, place=at)
    made.arrival_s = begun_s
    return made


def numbers(policy: str, *jobs: Job) -> list[int]:
    async def main() -> list[int]:
        found = requests_for(BY_NUMBER, POLICIES[policy], jobs)
        return [request.priority for request in found]

    return run_virtual(main())


def test_less_left_and_longer_waits_are_more_urgent_and_throughput_work_goes_behind() -> None:
    short, long = job(2.0), job(40.0)
    late, bulk = job(2.0, begun_s=30.0), job(0.0, priority=-1)
    first, second, third, last = numbers("application_aware", short, long, late, bulk)
    assert first > second > third > last
    assert first - second == PER_S * 19  # half a second for each second of work
    assert last < third - CLASS / 2


def test_a_deadline_counts_where_the_policy_goes_by_it() -> None:
    calm, urgent = job(1.0, deadline_s=100.0), job(1.0, deadline_s=5.0)
    first, second = numbers("least_slack", urgent, calm)
    assert first - second == PER_S * 95
    same = numbers("application_aware", urgent, calm)
    assert len(set(same)) == 1


def test_numbers_of_requests_that_are_sent_at_different_times_compare() -> None:
    async def main() -> list[int]:
        one, sent = job(10.0), []
        for _ in range(2):
            sent += requests_for(BY_NUMBER, POLICIES["critical_path"], [one])
            await asyncio.sleep(7.0)
        assert now() == 14.0
        return [request.priority for request in sent]

    first, again = run_virtual(main())
    assert first == again


def test_an_engine_behind_a_server_of_ours_is_told_the_name_of_the_policy() -> None:
    by_name = replace(PLAIN, capabilities=frozenset(("policies",)))
    one = job(1.0)
    (told,) = requests_for(by_name, vtc, [one])
    assert told.place == replace(one.place, policy="vtc")
    assert requests_for(by_name, replace(vtc), [one]) == [one.request]  # one of a user's own


def test_a_guess_goes_behind_all_where_an_engine_is_not_told_that_it_is_one() -> None:
    async def main() -> None:
        guess, real = job(1.0), job(90.0, priority=-1)
        assert guess.place.left is not None
        guess.place.left.is_guess = True
        for able in ((), ("priorities",)):
            info, policy = replace(PLAIN, capabilities=frozenset(able)), POLICIES["critical_path"]
            last, first = requests_for(info, policy, [guess, real])
            assert last.priority < first.priority
        told = replace(PLAIN, capabilities=frozenset(("guesses",)))
        assert requests_for(told, vtc, [guess]) == [guess.request]
        assert requests_for(PLAIN, vtc, [guess], by_place=True) == [guess.request]
        guess.place.left.is_guess = False  # somebody waits for it
        assert requests_for(PLAIN, vtc, [guess]) == [guess.request]

    run_virtual(main())


def test_other_engines_and_policies_that_have_no_such_number_keep_the_class() -> None:
    async def main() -> None:
        one = job(10.0, priority=-1)
        assert requests_for(PLAIN, POLICIES["application_aware"], [one]) == [one.request]
        assert requests_for(BY_NUMBER, vtc, [one]) == [one.request]
        assert one.request.priority == -1

    run_virtual(main())
