"""What warm-ups bring, in virtual time, on servers that compute prompts one after another; and that
each head is computed once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from backends.base import Request, Result
from backends.errors import EngineError
from backends.fake.capabilities import REMOTE
from backends.fake.llm import FakeLLM
from graph_opt.facts import Facts
from graph_opt.pipeline import optimize
from graph_opt.plain import as_written
from graph_opt.text import parse
from runtime.clock import now, run_virtual
from runtime.cost.curves import Curve, Surface
from runtime.cost.latency import EngineLatency, LatencyModel
from runtime.warm_hits import TRY_EACH
from runtime.warm_ups import WARM_S

Worlds = Callable[..., Any]

DOCUMENT = "word " * 600
HEAD = "Answer from the passages that follow, in plain English, and name the ones you used. " * 20

FAN_OUT = """\
graph g {
  %doc = input [type="str"]
  %points = input [type="list[str]"]
  %m = map %points %doc {
    %point = input [type="str"]
    %d = input [type="str"]
    %c0 = context [engine="llm"]
    %c1 = prefill %c0 @user %d "Judge its" @sp %point @assistant [engine="llm"]
    %t, %c2 = decode %c1 [engine="llm"]
    return %t
  }
  return %m
}"""
RETRIEVAL = f"""\
graph g {{
  %q = input [type="str"]
  %found = call %q [engine="tools", fn="find", pure=true, reads=true]
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @system "{HEAD}" @user %found "Question:" @sp %q @assistant [engine="llm"]
  %t, %c2 = decode %c1 [engine="llm"]
  return %t
}}"""
NOTHING_PAYS = RETRIEVAL.replace(HEAD, "Be brief.")


@dataclass(frozen=True)
class Ran:
    values: list[Any]
    took_s: float
    ops: list[str]  # what the server was sent, prefills that stay with the client left out
    num_computed: int
    num_live: int


def optimized(text: str, server: str) -> str:
    return str(optimize(as_written(parse(text)), facts=Facts({"llm": REMOTE[server]})))


def plain(text: str, server: str) -> str:
    return str(as_written(parse(text)))


def run(
    worlds: Worlds,
    text: str,
    server: str,
    plan: Callable[[str, str], str],
    inputs: Any,
    **options: Any,
) -> Ran:
    llm = {"capabilities": server, "prefill_token_s": 0.001, "token_s": 0.01, **options}
    w = worlds(llm=llm, tools={"latency_s": 0.5})

    async def main() -> tuple[list[Any], float]:
        return await w.run(plan(text, server), inputs, {"find": lambda _: "passages"}), now()

    values, took_s = run_virtual(main())
    engine = llm_of(w)
    return Ran(values, took_s, ops(engine), engine.num_computed_tokens, engine.num_live_contexts)


def llm_of(world: Any) -> FakeLLM:
    engine = world.runtime.scheduler("llm", world.specs["llm"]).engine
    assert isinstance(engine, FakeLLM)
    return engine


def ops(engine: FakeLLM) -> list[str]:
    return [op for batch in engine.journal for op, _ in batch if op != "prefill"]


POINTS = {"doc": DOCUMENT, "points": ["style", "facts", "tone", "length", "order", "use"]}


def test_a_fan_out_computes_its_head_once_where_the_server_would_do_it_for_each(
    world: Worlds,
) -> None:
    before = run(world, FAN_OUT, "sglang", plain, POINTS)
    after = run(world, FAN_OUT, "sglang", optimized, POINTS)
    assert after.values == before.values
    assert before.ops == ["decode"] * 6
    assert after.ops == ["prefill ahead", *["decode"] * 6]
    assert (before.num_computed, after.num_computed) == (6 * 603, 602 + 6)
    assert after.took_s < before.took_s / 4
    assert after.num_live == 0


def test_on_a_server_that_shares_what_runs_it_sends_no_request_more(world: Worlds) -> None:
    before = run(world, FAN_OUT, "vllm", plain, POINTS)
    after = run(world, FAN_OUT, "vllm", optimized, POINTS)
    assert after.values == before.values
    assert after.ops == before.ops == ["decode"] * 6
    assert after.num_computed == 602 + 6


def test_a_long_head_is_computed_while_retrieval_runs(world: Worlds) -> None:
    for server in ("sglang", "vllm"):
        before = run(world, RETRIEVAL, server, plain, {"q": "Why?"})
        after = run(world, RETRIEVAL, server, optimized, {"q": "Why?"})
        assert after.values == before.values
        assert after.ops == ["prefill ahead", "decode"]
        head_s = 0.3  # of 0.5 s that retrieval takes
        assert before.took_s - after.took_s == pytest.approx(head_s, abs=0.02)


def test_where_nothing_pays_it_sends_no_request_more(world: Worlds) -> None:
    for server in ("api", "sglang", "vllm"):
        before = run(world, NOTHING_PAYS, server, plain, {"q": "Why?"})
        after = run(world, NOTHING_PAYS, server, optimized, {"q": "Why?"})
        assert after.values == before.values
        assert len(after.ops) == len(before.ops) == 1
        assert after.took_s == before.took_s


def test_a_head_of_values_that_turn_out_short_stays_with_the_client(world: Worlds) -> None:
    short = run(world, FAN_OUT, "sglang", optimized, {**POINTS, "doc": "word " * 20})
    assert short.ops == ["decode"] * 6


@dataclass
class Calls:
    """Queries of one world, each at its own time."""

    world: Any
    text: str

    def at(self, *times: float, salts: tuple[str, ...] = ()) -> list[str]:
        async def ask(at_s: float, salt: str | None) -> None:
            await asyncio.sleep(at_s)
            await self.world.run(
                self.text, {"q": f"{at_s}?"}, {"find": lambda _: "passages"}, salt=salt
            )

        async def main() -> None:
            each = zip(times, salts or (None,) * len(times), strict=True)
            await asyncio.gather(*(ask(at_s, salt) for at_s, salt in each))

        run_virtual(main())
        assert self.world.num_live_contexts == 0
        return ops(llm_of(self.world))


@pytest.fixture
def retrievals(world: Worlds) -> Calls:
    llm = {"capabilities": "sglang", "prefill_token_s": 0.001}
    return Calls(world(llm=llm, tools={"latency_s": 0.5}), optimized(RETRIEVAL, "sglang"))


def test_later_queries_find_the_head_that_the_first_had_computed(retrievals: Calls) -> None:
    assert retrievals.at(0, 10, 10 + WARM_S / 2, 10 + WARM_S).count("prefill ahead") == 1


def test_a_head_that_nobody_read_for_long_is_computed_again(retrievals: Calls) -> None:
    assert retrievals.at(0, WARM_S + 1).count("prefill ahead") == 2


def test_queries_at_the_same_time_wait_for_one_head(retrievals: Calls) -> None:
    assert retrievals.at(0, 0.1, 0.2) == ["prefill ahead", *["decode"] * 3]
    assert llm_of(retrievals.world).num_computed_tokens < 2 * len(HEAD.split())


def test_tenants_do_not_share_a_head(retrievals: Calls) -> None:
    assert retrievals.at(0, 1, 2, salts=("a", "b", "a")).count("prefill ahead") == 2


def failing(engine: FakeLLM, times: int) -> Callable[[Request], Any]:
    answer = engine.answer

    async def refuse(request: Request) -> Result:
        nonlocal times
        if request.attrs.get("ahead") and times:
            times -= 1
            await asyncio.sleep(0.1)
            raise EngineError("no room")
        return await answer(request)

    return refuse


def test_a_warm_up_that_fails_harms_nobody_and_is_tried_again_by_the_next_query(
    retrievals: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llm_of(retrievals.world)
    monkeypatch.setattr(engine, "answer", failing(engine, 1))
    told = retrievals.at(0, 0.05, 5, 6)
    assert told.count("prefill ahead") == 2
    assert told.count("decode") == 4
    assert not [e for e in retrievals.world.log.events if e.kind == "error"]


@pytest.mark.parametrize("num_waiting", [0, 1])
def test_a_cancelled_query_stops_the_warm_up_that_nobody_else_waits_for(
    retrievals: Calls, num_waiting: int
) -> None:
    w = retrievals.world

    async def main() -> float:
        symbols = {"find": lambda _: "passages"}
        runs = [w.run(retrievals.text, {"q": "Why?"}, symbols) for _ in range(1 + num_waiting)]
        first, *others = map(asyncio.get_running_loop().create_task, runs)
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        scheduler = w.runtime.scheduler("llm", w.specs["llm"])
        aborted = len(llm_of(w)._aborted)
        await asyncio.gather(*others)
        while scheduler._running:
            await asyncio.sleep(0.1)
        return aborted

    assert run_virtual(main()) == 1 - num_waiting
    assert w.num_live_contexts == 0
    assert len(w.runtime._engines.gates.warm_ups) == 1
    (warm_ups,) = w.runtime._engines.gates.warm_ups.values()
    assert not warm_ups._running
    assert len(warm_ups._heads) == num_waiting


def test_a_cancelled_query_that_waits_for_a_head_leaves_the_others_alone(
    retrievals: Calls,
) -> None:
    w = retrievals.world

    async def main() -> list[Any]:
        symbols = {"find": lambda _: "passages"}
        runs = [w.run(retrievals.text, {"q": "Why?"}, symbols) for _ in range(3)]
        first, second, third = map(asyncio.get_running_loop().create_task, runs)
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        return [await first, await third]

    one, other = run_virtual(main())
    assert one == other
    assert ops(llm_of(w)) == ["prefill ahead", "decode", "decode"]
    assert w.num_live_contexts == 0


def test_where_the_engine_was_profiled_seconds_decide(world: Worlds) -> None:
    inputs = {**POINTS, "doc": "word " * 100}
    for call_s, ahead in [(0.001, 1), (0.2, 0)]:
        line = Surface.flat(Curve.line(call_s, 0.001))
        w = world(llm={"capabilities": "sglang"})
        scheduler = w.runtime.scheduler("llm", w.specs["llm"])
        scheduler.latency = EngineLatency(LatencyModel({"prefill": line}))
        run_virtual(w.run(optimized(FAN_OUT, "sglang"), inputs))
        assert ops(llm_of(w)).count("prefill ahead") == ahead


def test_an_engine_that_pins_and_warms_up_has_constant_heads_computed_before_they_are_pinned(
    world: Worlds,
) -> None:
    able = sorted({*REMOTE["sglang"], "pin"})
    w = world(llm={"capabilities": able})
    run_virtual(w.run(plain(RETRIEVAL, ""), {"q": "Why?"}, {"find": lambda _: "passages"}))
    engine = llm_of(w)
    assert ops(engine) == ["prefill ahead", "decode"]
    assert engine.pinned == [f"<|system|>{HEAD}<|user|>"]


def test_where_readers_do_not_find_their_heads_warm_ups_stop_and_are_tried_now_and_then(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = world(llm={"capabilities": "sglang"}, tools={"latency_s": 0.5})
    cache = llm_of(w)._cache
    keep = cache.keep
    monkeypatch.setattr(cache, "keep", lambda *_: None)  # switched off at the server
    text = optimized(RETRIEVAL, "sglang")
    symbols = {"find": lambda _: "passages"}

    async def ask(number: int) -> int:
        await w.run(text.replace("Answer from", f"{number}: answer from"), {"q": "?"}, symbols)
        return ops(llm_of(w)).count("prefill ahead")

    async def main() -> list[int]:
        off = [await ask(number) for number in range(2 + TRY_EACH)]
        monkeypatch.setattr(cache, "keep", keep)  # and on again
        return [off[1], off[-2], off[-1], *[await ask(100 + i) for i in range(TRY_EACH + 2)]]

    after_two, before_try, tried, *on_again = run_virtual(main())
    assert (after_two, before_try, tried) == (2, 2, 3)
    assert on_again[-1] - on_again[0] >= 2


def test_a_head_that_a_server_lost_is_computed_again_for_the_next_query(
    retrievals: Calls,
) -> None:
    w = retrievals.world
    symbols = {"find": lambda _: "passages"}

    async def main() -> list[int]:
        counts = []
        for number in range(4):
            if number == 2:
                llm_of(w)._cache._prompts.clear()  # the server was started again
            await w.run(retrievals.text, {"q": f"{number}?"}, symbols)
            counts.append(ops(llm_of(w)).count("prefill ahead"))
        llm_of(w)._cache._prompts.clear()
        await w.run(retrievals.text, {"q": "last?"}, symbols)
        await w.run(retrievals.text, {"q": "last one?"}, symbols)
        return [*counts, ops(llm_of(w)).count("prefill ahead")]

    first, second, lost, again, at_last = run_virtual(main())
    assert (first, second, lost) == (1, 1, 1)
    assert again == 2
    assert at_last == 3


def test_a_head_with_other_tools_is_another_head(world: Worlds) -> None:
    tools = 'ahead=true, engine="llm", tools=[{"name": "NAME"}]]'
    plan = optimized(RETRIEVAL, "sglang")
    assert 'ahead=true, engine="llm"]' in plan

    async def main() -> int:
        w = world(llm={"capabilities": "sglang"}, tools={"latency_s": 1.0})
        llm = llm_of(w)
        for name in ("a", "b", "a"):
            text = plan.replace('ahead=true, engine="llm"]', tools.replace("NAME", name))
            await w.run(text, {"q": "Why?"}, {"find": lambda _: "passages"})
        return ops(llm).count("prefill ahead")

    assert run_virtual(main()) == 2
