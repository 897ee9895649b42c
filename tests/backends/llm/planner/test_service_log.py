"""What a request that is listened to is told of how the engine served it."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.place import Place
from backends.served import Served, served_from

Make = Callable[..., Any]


def heard(driven: Any, query: str, left_s: float = 1.0, **sizes: int) -> Any:
    sequence = driven.add(**{"prompt": 4, "num_output": 3, **sizes}, is_heard=True)
    sequence.request.place = Place(query, left_s)
    return sequence


def test_a_request_without_a_listener_is_told_nothing(engine: Make) -> None:
    driven = engine()
    sequence = driven.add(4, num_output=2)
    driven.run()
    assert sequence.served is None


def test_steps_and_chunks_are_counted(engine: Make) -> None:
    driven = engine(token_budget=16)
    sequence = heard(driven, "q1", prompt=40, num_output=3)
    driven.run()
    assert sequence.served == Served(
        num_steps=5, first_step=1, last_step=5, num_chunks=3, largest_chunk=16
    )


def test_what_a_request_waits_for_a_seat_is_told_with_the_queries_that_ran(engine: Make) -> None:
    driven = engine(policy="fcfs", max_running=1)
    first, second = heard(driven, "q1", num_output=3), heard(driven, "q2")
    driven.run()
    steps_s = 0.010 * 3 + 0.001 * (4 + 2)
    assert first.served.queued_s == 0.0
    assert second.served.queued_s == pytest.approx(steps_s)
    assert dict(second.served.limits) == {"seats": pytest.approx(steps_s)}
    assert dict(second.served.behind) == {"q1": pytest.approx(steps_s)}


def test_prompts_that_leave_no_tokens_are_told_as_such(engine: Make) -> None:
    driven = engine(policy="fcfs", max_running=4, token_budget=32)
    heard(driven, "q1", prompt=64)
    second = heard(driven, "q2")
    driven.run()
    assert [limit for limit, _ in second.served.limits] == ["tokens"]


def test_a_pause_is_no_queue(engine: Make) -> None:
    driven = engine(policy="application_aware", max_running=1)
    long = heard(driven, "long", 40.0, num_output=6)
    driven.step(2)
    heard(driven, "short", 1.0, num_output=3)
    driven.run()
    served = long.served
    assert (served.num_paused, served.queued_s) == (3, 0.0)
    assert served.paused_s == pytest.approx(0.010 * 3 + 0.001 * (4 + 2))
    assert [query for query, _ in served.behind] == ["short"]


def test_who_took_its_pages_is_told(engine: Make) -> None:
    driven = engine(policy="fcfs", kv_tokens=64, page_size=4, watermark=0.0, max_running=2)
    heard(driven, "q1", prompt=24, num_output=30)
    victim = heard(driven, "q2", prompt=24, num_output=30)
    driven.run()
    assert victim.served.num_preempted >= 1
    assert victim.served.preempted_by == "q1"
    assert dict(victim.served.limits).keys() == {"pages"}


def test_a_record_is_read_as_it_was_told(engine: Make) -> None:
    driven = engine(policy="fcfs", max_running=1)
    heard(driven, "q1")
    served = heard(driven, "q2").served
    assert served_from(served.fields) == served
    assert served_from("no record") is served_from({"num_steps": "many"}) is None
