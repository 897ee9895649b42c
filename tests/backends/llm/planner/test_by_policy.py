"""The order of applications: whose query is nearest to its end, and what a step spares decodes."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.base import Request, Tokens
from backends.place import Left, Place
from backends.policy.base import FlowView, Policy, Ticket
from backends.policy.named import POLICIES
from runtime.waiting.ready_queue import ReadyQueue

Make = Callable[..., Any]


def asked(driven: Any, query: str, left_s: float, prompt: int = 4, num_output: int = 3) -> Any:
    sequence = driven.add(prompt, num_output=num_output)
    sequence.request.place = Place(query, left_s)
    return sequence


def test_the_query_with_least_left_goes_first_with_all_its_requests(engine: Make) -> None:
    driven = engine(policy="application_aware", max_running=1)
    long = [asked(driven, "long", 40.0) for _ in range(2)]
    short = [asked(driven, "short", left_s) for left_s in (1.0, 3.0)]
    driven.run()
    order = [short[1], short[0], *long]  # of one query the longest path first, else by arrival
    assert driven.finished == [sequence.request.id for sequence in order]


def test_a_query_takes_the_slot_of_one_with_more_left_which_goes_on_afterwards(
    engine: Make,
) -> None:
    driven = engine(policy="application_aware", max_running=1)
    long = asked(driven, "long", 40.0, num_output=6)
    driven.step(2)
    short = asked(driven, "short", 1.0)
    driven.step()
    assert (driven.tokens(long), driven.tokens(short)) == (0, 4)
    driven.run()
    assert driven.finished == [short.request.id, long.request.id]


def test_a_query_that_its_last_call_brings_near_its_end_counts_by_its_farthest_request(
    engine: Make,
) -> None:
    driven = engine(policy="application_aware", max_running=1)
    one = asked(driven, "one", 10.0)
    near = asked(driven, "two", 1.0)
    far = asked(driven, "two", 20.0)
    driven.run()
    assert driven.finished == [each.request.id for each in (one, far, near)]


def test_steps_go_by_arrival_once_a_policy_raised(
    engine: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def turn(flow: FlowView) -> float:
        raise KeyError(flow.first.place.query)

    driven = engine(policy="auto", max_running=1)
    driven.core.order_by(Policy("mine", rank=lambda ticket: -ticket.order, turn=turn))
    asked_for = [asked(driven, query, 1.0) for query in ("a", "b", "c")]
    driven.run()
    assert driven.finished == [sequence.request.id for sequence in asked_for]
    assert [each.getMessage() for each in caplog.records] == [
        "policy 'mine' raised; steps go by arrival"
    ]


def test_a_guess_goes_behind_all_others_until_somebody_waits_for_it(engine: Make) -> None:
    driven = engine(policy="application_aware", max_running=1)
    guess, left = driven.add(4, num_output=6), Left(0.0, is_guess=True)
    guess.request.place = Place("guess", 0.1, left=left)
    driven.step(2)
    real = asked(driven, "real", 40.0, num_output=9)
    driven.step(2)
    assert driven.tokens(guess) == 0  # its slot was taken
    left.is_guess = False
    driven.run()
    assert driven.finished == [guess.request.id, real.request.id]


def test_requests_of_no_query_go_by_arrival_alone_and_by_their_prompts_beside_queries(
    engine: Make,
) -> None:
    driven = engine(policy="application_aware", max_running=1)
    first, second = driven.add(300, num_output=1), driven.add(4, num_output=1)
    driven.run()
    assert driven.finished == [first.request.id, second.request.id]
    driven = engine(policy="application_aware", max_running=1)
    large, small = driven.add(300, num_output=1), driven.add(4, num_output=1)
    query = asked(driven, "query", 0.1, num_output=1)
    driven.run()
    assert driven.finished == [each.request.id for each in (small, query, large)]


def test_the_oldest_gets_its_turn_however_many_shorter_queries_come(engine: Make) -> None:
    driven = engine(policy="shortest_remaining", max_running=2, patience_ms=300)
    starved = asked(driven, "long", 40.0, num_output=3)
    for number in range(60):
        asked(driven, f"short {number}", 1.0, num_output=1)
        asked(driven, f"also {number}", 1.0, num_output=1)
        driven.step()
        if starved.request.id in driven.finished:
            break
    assert 0.3 <= driven.clock() < 0.6


def test_a_prompt_waits_for_decodes_that_soon_end_and_for_no_others(engine: Make) -> None:
    """10 ms a step and 1 ms a token, which the latency model has learned."""
    chunks = {}
    for num_output in (34, 400):
        driven = engine(policy="application_aware", max_running=12, token_budget=512)
        for number in range(8):
            asked(driven, f"{number}", 1.0, num_output=num_output)
        driven.step(30)
        asked(driven, "prompt", 9.0, prompt=400)
        chunks[num_output] = driven.step().num_tokens - 8
    assert chunks[34] <= 100
    assert chunks[400] == 400


def test_a_prefill_that_adds_no_token_ends_beside_a_decode(engine: Make) -> None:
    driven = engine(policy="application_aware")
    asked(driven, "writes", 1.0, num_output=20)
    driven.step(3)
    empty = Request("f" * 32, "prefill", (None, Tokens((7,))), place=Place("asks nothing", 1.0))
    driven.core.add(empty)
    driven.run()
    assert driven.finished[0] == empty.id


def test_with_nothing_that_decodes_a_step_is_as_large_as_it_may_be(engine: Make) -> None:
    driven = engine(policy="application_aware", token_budget=512)
    asked(driven, "prompt", 9.0, prompt=600)
    assert driven.step().num_tokens == 512


def test_decodes_of_bulk_work_do_not_make_chunks_small(engine: Make) -> None:
    driven = engine(policy="application_aware", max_running=12, token_budget=512)
    for _ in range(8):
        driven.add(4, num_output=80, priority=-1)
    driven.step(30)
    urgent = driven.add(400, num_output=2)
    driven.step()  # starts within what the running leave
    assert driven.tokens(urgent) + driven.step().num_tokens >= 400


def test_an_engine_and_a_scheduler_mean_the_same_by_a_name(engine: Make) -> None:
    """Requests that wait at an engine of one slot end in the order in which a queue gives them."""
    rows = [("a", 4.0, 1, "g.m"), ("b", 2.0, 3, "g.m"), ("a", 6.0, 2, "g.n"), ("c", 2.5, 0, "g.n")]
    for policy in POLICIES.values():
        if policy.name == "fcfs":
            continue  # the engine's own goes on with what runs
        driven = engine(policy=policy.name, max_running=1)
        queue: ReadyQueue[Ticket] = ReadyQueue(policy)
        names = {}
        for order, (query, left_s, depth, node) in enumerate(rows):
            place = Place(query, left_s, depth, node=node, tenant=query, work_s=left_s)
            sequence = driven.add(4, num_output=1)
            sequence.request.place = place
            names[sequence.request.id] = order
            queue.put(Ticket(order, 0.0, place, "decode", 1))
        if policy.account is None:  # else the order depends on what each is given meanwhile
            driven.run()
            taken = [queue.take(1, 0.0)[0].order for _ in rows]
            assert [names[each] for each in driven.finished] == taken, policy.name


def test_tenants_take_turns_by_the_tokens_they_were_given(engine: Make) -> None:
    driven = engine(policy="vtc", max_running=1)
    greedy = [driven.add(40, num_output=2) for _ in range(4)]
    modest = [driven.add(40, num_output=2) for _ in range(2)]
    for sequence in (*greedy, *modest):
        tenant = "greedy" if sequence in greedy else "modest"
        sequence.request.place = Place(sequence.request.id, 1.0, tenant=tenant)
    driven.run()
    order = ["greedy" if s in {g.request.id for g in greedy} else "modest" for s in driven.finished]
    assert order[:4].count("modest") == 2


def test_a_place_that_changes_while_its_request_waits_changes_the_order(engine: Make) -> None:
    driven = engine(policy="application_aware", max_running=1)
    one, two = asked(driven, "one", 5.0), asked(driven, "two", 9.0)
    two.request.place = Place("two", 1.0)
    driven.run()
    assert driven.finished == [two.request.id, one.request.id]


def test_of_two_queries_with_as_much_left_one_ends_before_the_other(engine: Make) -> None:
    driven = engine(policy="application_aware", max_running=1)
    asked_for = [asked(driven, query, 5.0) for query in ("one", "two", "one", "two")]
    driven.run()
    one, two = asked_for[::2], asked_for[1::2]
    assert driven.finished == [sequence.request.id for sequence in (*one, *two)]
