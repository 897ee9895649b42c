"""The scheduler keeps to an API's rate limits over all queries, and wastes nothing of them."""

import asyncio
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import pytest
from rated_api import Clients, RatedAPI

from backends.base import Request, Result
from backends.errors import EngineError, EngineOverloaded
from backends.fake.llm import FakeLLM
from backends.fake.retrieval import FakeEmbedder
from backends.rate_limits import Allowance, RateLimits, RateReport
from backends.registry import EngineSpec
from graph_opt.text import parse
from runtime.clock import now, run_virtual
from runtime.engine_scheduler import EngineScheduler
from runtime.errors import QueryTimeout
from runtime.hints import Hint
from runtime.job import Job
from runtime.layout import layout_of
from runtime.service import Runtime

Worlds = Callable[..., Any]


def test_no_minute_has_more_requests_than_the_limit_and_none_is_wasted() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=120), latency_s=0.7)
    clients = Clients(api)

    async def main() -> float:
        for i in range(600):
            clients.ask(f"r{i}", query=f"q{i % 7}")
        await clients.all_ended()
        return now()

    took_s = run_virtual(main())
    assert api.most_requests_a_minute() == 120
    assert took_s < 4 * 60 * 1.02  # five times the limit: the fifth part begins after 4 minutes
    assert all(isinstance(outcome, Result) for outcome in clients.outcomes.values())


@pytest.mark.parametrize("seed", range(5))
def test_no_minute_has_more_tokens_than_the_limit(seed: int) -> None:
    draw = Random(seed)
    api = RatedAPI(RateLimits(tokens_per_minute=10_000), latency_s=2.0)
    clients = Clients(api)

    async def main() -> float:
        for i in range(400):
            prompt, most = draw.randint(10, 600), draw.randint(1, 300)
            written = draw.randint(1, most)
            clients.ask(f"r{i}", query=f"q{i % 9}", prompt=prompt, max_tokens=most, written=written)
            await asyncio.sleep(draw.choice([0.0, 0.0, 0.5]))
        await clients.all_ended()
        return now()

    took_s = run_virtual(main())
    total = sum(arrival.tokens for arrival in api.arrivals)
    assert api.most_tokens_a_minute() <= 10_000
    assert took_s < 60 * total / 10_000 * 1.05
    assert len(api.arrivals) == 400


def test_the_scheduler_wakes_when_the_budget_allows_and_not_before() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=2), latency_s=0.1)
    clients = Clients(api)
    takes: list[float] = []

    async def main() -> None:
        planner = clients.scheduler._waiting.rates
        assert planner is not None
        take = planner.take

        def noted(*args):  # type: ignore[no-untyped-def]
            takes.append(round(now(), 6))
            return take(*args)

        planner.take = noted  # type: ignore[method-assign]
        clients.ask("a")
        await asyncio.sleep(5.0)
        clients.ask("b")
        clients.ask("c")
        clients.ask("d")
        await clients.all_ended()

    run_virtual(main())
    assert [(a.name, round(a.at_s, 6)) for a in api.arrivals] == [
        ("a", 0.0),
        ("b", 5.0),
        ("c", 60.0),
        ("d", 65.0),
    ]
    assert len(takes) <= 12  # a look at each event, none between them


def test_what_is_most_urgent_goes_first() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=1), latency_s=0.1)
    clients = Clients(api)

    async def main() -> None:
        clients.ask("first")
        clients.ask("late", level_s=1.0)
        clients.ask("urgent", level_s=9.0)
        await asyncio.sleep(30.0)
        clients.ask("most urgent", level_s=99.0)
        await clients.all_ended()

    run_virtual(main())
    names = [arrival.name for arrival in api.arrivals]
    assert names == ["urgent", "most urgent", "first", "late"]


def test_a_backlog_of_throughput_work_does_not_take_the_limit() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=4), latency_s=0.1)
    clients = Clients(api)

    async def main() -> None:
        await asyncio.sleep(1000.0)
        for i in range(20):
            clients.ask(f"bulk{i}", query="bulk", kind="throughput")
        await asyncio.sleep(30.0)
        for i in range(60):
            clients.ask(f"soon{i:02}", query="soon")
        await clients.all_ended()

    run_virtual(main())
    names = [arrival.name for arrival in api.arrivals]
    meanwhile = names[4 : names.index("soon59")]
    assert 1 <= sum(name.startswith("bulk") for name in meanwhile) <= 6  # a tenth: none starves
    assert len(names) == 80


def test_queries_take_turns_under_a_limit() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=10), latency_s=0.1)
    clients = Clients(api)

    async def main() -> None:
        for i in range(40):
            clients.ask(f"big{i}", query="big")
        for i in range(3):
            clients.ask(f"small{i}", query="small")
        await clients.all_ended()

    run_virtual(main())
    assert max(clients.ended_s[f"small{i}"] for i in range(3)) < 300.0
    assert api.most_requests_a_minute() == 10


def test_a_large_request_is_not_starved_by_small_ones_behind_it() -> None:
    api = RatedAPI(RateLimits(tokens_per_minute=1000), latency_s=0.1)
    clients = Clients(api)
    numbers = count()

    async def main() -> None:
        clients.ask("before", prompt=500, max_tokens=1)
        await asyncio.sleep(1.0)
        clients.ask("large", prompt=890, max_tokens=10)
        for _ in range(50):
            clients.ask(f"small{next(numbers)}", prompt=40, max_tokens=10)
            await asyncio.sleep(3.0)
        await clients.all_ended()

    run_virtual(main())
    at_s = {arrival.name: arrival.at_s for arrival in api.arrivals}
    assert at_s["large"] == pytest.approx(60.0)
    assert api.most_tokens_a_minute() <= 1000


def test_small_requests_pass_a_large_one_only_where_that_does_not_delay_it() -> None:
    api = RatedAPI(RateLimits(tokens_per_minute=1000), latency_s=0.1)
    clients = Clients(api)

    async def main() -> None:
        clients.ask("before", prompt=499, max_tokens=1)
        await asyncio.sleep(1.0)
        clients.ask("large", prompt=890, max_tokens=10)
        for i in range(3):
            clients.ask(f"small{i}", prompt=40, max_tokens=10)
        await clients.all_ended()

    run_virtual(main())
    at_s = {arrival.name: round(arrival.at_s, 6) for arrival in api.arrivals}
    assert at_s == {"before": 0.0, "small0": 1.0, "small1": 1.0, "large": 60.0, "small2": 61.0}


def test_a_request_larger_than_the_limit_goes_alone() -> None:
    api = RatedAPI(RateLimits(tokens_per_minute=100), latency_s=0.1)
    clients = Clients(api)

    async def main() -> None:
        clients.ask("before", prompt=50, max_tokens=10)
        clients.ask("huge", prompt=500, max_tokens=10)
        clients.ask("after", prompt=50, max_tokens=10)
        await clients.all_ended()

    run_virtual(main())
    at_s = {arrival.name: round(arrival.at_s, 6) for arrival in api.arrivals}
    assert at_s == {"before": 0.0, "huge": 60.0, "after": 120.0}


def test_what_usage_says_gives_back_what_max_tokens_held() -> None:
    api = RatedAPI(RateLimits(tokens_per_minute=1000), latency_s=2.0)
    clients = Clients(api)

    async def main() -> None:
        for i in range(3):
            clients.ask(f"r{i}", prompt=10, max_tokens=900, written=10)
        await clients.all_ended()

    run_virtual(main())
    assert [arrival.at_s for arrival in api.arrivals] == [0.0, 2.0, 4.0]


def test_a_cancelled_request_gives_its_share_back() -> None:
    api = RatedAPI(RateLimits(tokens_per_minute=1000), latency_s=30.0)
    clients = Clients(api)

    async def main() -> None:
        job = clients.ask("a", prompt=10, max_tokens=900)
        clients.ask("b", prompt=10, max_tokens=900)
        await asyncio.sleep(3.0)
        clients.scheduler.cancel(job)
        await clients.all_ended()

    run_virtual(main())
    assert {a.name: a.at_s for a in api.arrivals} == {"a": 0.0, "b": 3.0}


def test_a_cancelled_request_that_waits_frees_what_was_reserved_for_it() -> None:
    api = RatedAPI(RateLimits(tokens_per_minute=1000), latency_s=0.1)
    clients = Clients(api)

    async def main() -> None:
        clients.ask("before", prompt=499, max_tokens=1)
        await asyncio.sleep(1.0)
        large = clients.ask("large", prompt=990, max_tokens=10)
        clients.ask("small", prompt=40, max_tokens=10)
        await asyncio.sleep(1.0)
        clients.scheduler.cancel(large)
        clients.forget("large")
        await clients.all_ended()

    run_virtual(main())
    assert {a.name: round(a.at_s, 6) for a in api.arrivals} == {"before": 0.0, "small": 2.0}


def test_a_request_cancelled_while_the_engine_loads_costs_nothing() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=1), latency_s=0.1, start_s=5.0)
    clients = Clients(api)

    async def main() -> None:
        doomed = clients.ask("doomed")
        clients.ask("other")
        await asyncio.sleep(1.0)
        clients.scheduler.cancel(doomed)
        clients.forget("doomed")
        await clients.all_ended()

    run_virtual(main())
    assert {a.name: round(a.at_s, 6) for a in api.arrivals} == {"other": 5.0}


def test_a_minute_begins_when_requests_are_sent_and_not_when_the_engine_loads() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=3), latency_s=0.1, start_s=50.0)
    clients = Clients(api)

    async def main() -> None:
        for i in range(6):
            clients.ask(f"r{i}")
        await clients.all_ended()

    run_virtual(main())
    assert api.most_requests_a_minute() == 3
    assert api.arrivals[-1].at_s == pytest.approx(110.0)


def test_a_refused_request_is_sent_again_when_the_api_says_and_not_failed() -> None:
    refusals = [EngineOverloaded("slow down", retry_after_s=7.0)]
    api = RatedAPI(latency_s=0.1, refuse=lambda _: refusals.pop() if refusals else None)
    clients = Clients(api)

    async def main() -> None:
        clients.ask("a")
        await asyncio.sleep(1.0)
        clients.ask("b")  # nothing is sent until then
        await clients.all_ended()

    run_virtual(main())
    assert api.refused == ["a"]
    assert {a.name: round(a.at_s, 6) for a in api.arrivals} == {"a": 7.0, "b": 7.1}
    assert all(isinstance(outcome, Result) for outcome in clients.outcomes.values())


def test_of_several_refusals_the_longest_wait_holds() -> None:
    refusals = [EngineOverloaded("soon", 5.0), EngineOverloaded("slow down", 50.0)]
    api = RatedAPI(latency_s=0.1, refuse=lambda _: refusals.pop() if refusals else None)
    clients = Clients(api)

    async def main() -> None:
        clients.ask("a")
        clients.ask("b")
        await clients.all_ended()

    run_virtual(main())
    assert len(api.refused) == 2
    assert all(arrival.at_s >= 50.0 for arrival in api.arrivals)
    assert all(isinstance(outcome, Result) for outcome in clients.outcomes.values())


def test_after_a_refusal_few_requests_go_at_once_and_more_with_each_answer() -> None:
    open_at_s = 10.0
    api = RatedAPI(
        latency_s=1.0,
        refuse=lambda _: EngineOverloaded("", open_at_s - now()) if now() < open_at_s else None,
    )
    clients = Clients(api)

    async def main() -> None:
        for i in range(15):
            clients.ask(f"r{i:02}")
        await clients.all_ended()

    run_virtual(main())
    times = [round(arrival.at_s) for arrival in api.arrivals]
    assert times == [10] + [11] * 2 + [12] * 4 + [13] * 8
    assert [a.name for a in api.arrivals] == [f"r{i:02}" for i in range(15)]  # in their old order


def test_a_request_that_has_told_text_is_not_sent_again() -> None:
    pieces: list[str] = []

    def refuse(request: Request) -> Exception:
        assert request.emit is not None
        request.emit("half an")
        return EngineOverloaded("in the middle", retry_after_s=1.0)

    clients = Clients(RatedAPI(latency_s=0.1, refuse=refuse))

    async def main() -> None:
        clients.ask("a", emit=pieces.append)
        await clients.all_ended()

    run_virtual(main())
    assert pieces == ["half an"]
    assert str(clients.outcomes["a"]) == "in the middle"


def test_a_request_refused_without_end_fails() -> None:
    api = RatedAPI(refuse=lambda _: EngineOverloaded("never", retry_after_s=1.0))
    clients = Clients(api)

    async def main() -> None:
        clients.ask("a")
        await clients.all_ended()

    run_virtual(main())
    assert isinstance(clients.outcomes["a"], EngineOverloaded)
    assert len(api.refused) == 21


def test_an_api_that_asks_for_an_hour_is_not_waited_for() -> None:
    clients = Clients(RatedAPI(refuse=lambda _: EngineOverloaded("a day's quota", 3600.0)))

    async def main() -> float:
        clients.ask("a")
        await clients.all_ended()
        return now()

    assert run_virtual(main()) == 0.0
    assert str(clients.outcomes["a"]) == "a day's quota"


def test_a_refusal_that_says_no_time_fails() -> None:
    clients = Clients(RatedAPI(refuse=lambda _: EngineOverloaded("full")))

    async def main() -> None:
        clients.ask("a")
        await clients.all_ended()

    run_virtual(main())
    assert isinstance(clients.outcomes["a"], EngineError)


def test_a_cancelled_request_is_not_sent_again() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=9), latency_s=5.0)
    clients = Clients(api)

    async def main() -> None:
        job = clients.ask("a")
        await asyncio.sleep(1.0)
        clients.scheduler.cancel(job)
        await clients.all_ended()

    run_virtual(main())
    assert len(api.arrivals) == 1
    assert isinstance(clients.outcomes["a"], EngineError)


def test_others_who_use_the_account_leave_less() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=60), latency_s=0.0)
    clients = Clients(api)

    async def main() -> None:
        clients.ask("first")
        await asyncio.sleep(1.0)
        api.tell(RateReport(requests=Allowance(limit=60, remaining=2, reset_s=58.0)))
        for i in range(5):
            clients.ask(f"r{i}")
        await clients.all_ended()

    run_virtual(main())
    assert [round(arrival.at_s, 3) for arrival in api.arrivals] == [0.0, 1.0, 1.0, 2.0, 3.0, 4.0]


def test_an_api_states_limits_that_nobody_named() -> None:
    api = RatedAPI(latency_s=0.1)
    clients = Clients(api)

    async def main() -> None:
        clients.ask("first")
        await asyncio.sleep(0.2)
        api.tell(RateReport(requests=Allowance(limit=3, remaining=2, reset_s=20.0)))
        for i in range(4):
            clients.ask(f"r{i}")
        await clients.all_ended()

    run_virtual(main())
    assert api.most_requests_a_minute() == 3


def test_a_limit_that_the_user_set_below_the_apis_holds() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=3), latency_s=0.1)
    clients = Clients(api)

    async def main() -> None:
        api.tell(RateReport(requests=Allowance(limit=500, remaining=499, reset_s=0.12)))
        for i in range(7):
            clients.ask(f"r{i}")
        await clients.all_ended()

    run_virtual(main())
    assert api.most_requests_a_minute() == 3


def test_a_report_of_more_room_wakes_what_waits() -> None:
    api = RatedAPI(RateLimits(requests_per_minute=60), latency_s=0.0)
    clients = Clients(api)

    async def main() -> None:
        api.tell(RateReport(requests=Allowance(remaining=0, reset_s=60.0)))
        clients.ask("a")
        await asyncio.sleep(0.25)
        api.tell(RateReport(requests=Allowance(remaining=10, reset_s=50.0)))
        await clients.all_ended()

    run_virtual(main())
    assert api.arrivals[0].at_s == 0.25


def test_a_prefill_that_stays_with_the_client_costs_nothing() -> None:
    engine = FakeLLM("fake:", {"requests_per_minute": 1})
    scheduler = EngineScheduler("llm", engine)
    done: list[float] = []

    async def main() -> None:
        for i in range(5):
            request = Request(f"{i:032x}", "prefill", (None, "a text"))
            job = Job(
                request, "q", Hint(0, 1.0), lambda _: None, lambda outcome: done.append(now())
            )
            scheduler.submit(job)
        await asyncio.sleep(1.0)
        await scheduler.close()

    run_virtual(main())
    assert done == [0.0] * 5


def test_a_batch_of_texts_is_one_request_and_is_cut_to_the_tokens_left() -> None:
    engine = FakeEmbedder("fake:", {"requests_per_minute": 2, "tokens_per_minute": 100})
    scheduler = EngineScheduler("embedder", engine)

    async def main() -> None:
        for i in range(8):
            request = Request(f"{i:032x}", "embed", ("x" * 4 * 30,))
            scheduler.submit(Job(request, "q", Hint(0, 1.0), lambda _: None, lambda _: None))
        await asyncio.sleep(200.0)
        await scheduler.close()

    run_virtual(main())
    assert [len(batch) for batch in engine.journal] == [3, 3, 2]


CALLS = """
graph g {
  %xs = input [type="list[str]"]
  %m = map %xs {
    %x = input [type="str"]
    %e = context [engine="llm"]
    %y, %c = decode %e %x [engine="llm"]
    return %y
  }
  return %m
}
"""


async def run_calls(runtime: Runtime, count: int, timeout_s: float | None = None) -> None:
    spec = EngineSpec("llm", "fake:", {"requests_per_minute": 10, "decode_parts": True})
    inputs = {"xs": [f"text {i}" for i in range(count)]}
    await runtime.run(layout_of(parse(CALLS)), inputs, {"llm": spec}, {}, timeout_s=timeout_s)


def test_a_limit_holds_over_all_queries_of_a_runtime() -> None:
    async def main() -> float:
        runtime = Runtime()
        await asyncio.gather(*(run_calls(runtime, 10) for _ in range(3)))
        took_s = now()
        await runtime.close()
        return took_s

    assert run_virtual(main()) == pytest.approx(120.0)


def test_a_query_that_waits_for_the_budget_ends_at_its_timeout() -> None:
    async def main() -> float:
        runtime = Runtime()
        with pytest.raises(QueryTimeout):
            await run_calls(runtime, 30, timeout_s=70.0)
        await run_calls(runtime, 10)  # what the other did not send is free
        took_s = now()
        await runtime.close()
        return took_s

    assert run_virtual(main()) == pytest.approx(120.0)


def test_a_time_limit_begins_anew_when_a_refused_call_is_sent_again(world: Worlds) -> None:
    times: list[float] = []

    def work(text: str) -> str:
        times.append(now())
        if len(times) == 1:
            raise EngineOverloaded("busy", retry_after_s=0.2)
        return text.upper()

    text = 'graph g {\n  %a = call "x" [engine="tools", fn="work", timeout_s=0.7]\n  return %a\n}'
    limited = world(tools={"requests_per_minute": 100, "latency_s": 0.4})
    assert limited.run_all(text, symbols={"work": work}) == [["X"]]
    assert times == pytest.approx([0.4, 1.0])
