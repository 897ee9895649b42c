"""500 queries while engines are killed, hang, are slow and in error at random: each ends with the
right answer or a typed error, no effect happens twice, and nothing is left. Virtual time."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

import pytest

from backends.base import Engine
from backends.errors import EngineError, EngineOverloaded
from backends.fake.capabilities import REMOTE
from backends.fake.faulty import FaultyEngine
from backends.fake.llm import FakeLLM
from backends.registry import EngineSpec, create
from backends.remote.routing.routed_engine import RoutedEngine
from graph_opt.text import parse
from runtime.clock import now, run_virtual
from runtime.errors import NodeFailed, QueryError, QueryTimeout
from runtime.events import Event
from runtime.layout import layout_of
from runtime.service import Runtime

GRAPH = """\
graph chaos {
  %q = input [type="str"]
  %c0 = context [engine="llm"]
  %c1 = prefill %c0 @user "Plan" %q @assistant [engine="llm"]
  %plan, %c2 = decode %c1 [engine="llm", max_tokens=8]
  %v = embed %plan [engine="embedder"]
  %looked = call %plan [engine="tools", fn="look", pure=true]
  %c3 = prefill %c2 @user "Answer" %looked @assistant [engine="llm"]
  %answer, %c4 = decode %c3 [engine="llm", max_tokens=8]
  %done = call %answer [engine="tools", fn="send"]
  return %answer, %v, %done
}"""
NUM_QUERIES = 500
NUM_INSTANCES = 3  # of the LLM, and of the embedder
LIMIT_S = 120.0  # of a query
LAYOUT = layout_of(parse(GRAPH))


class World:
    """Engines that fail, and what became of the queries."""

    def __init__(self, seed: int, hedge: float | None = None) -> None:
        self.seed = seed
        self.hedge = hedge
        self.engines: dict[str, FaultyEngine] = {}
        self.llms: list[FakeLLM] = []
        self.sent: Counter[str] = Counter()  # answers, by the effect
        self.retries = 0
        self.num_failures = 0  # that were made
        options = {"latency_s": 0.05, "timeout_s": 15.0}
        self.specs: Mapping[str, EngineSpec] = {
            "llm": EngineSpec("llm", "fake:", {"timeout_s": 15.0, "retries": 4}),
            "embedder": EngineSpec("embedder", "fake:", options),
            "tools": EngineSpec("python", "fake:", {"latency_s": 0.05, "num_slots": 64}),
        }
        self.runtime = Runtime(make=self._make)

    def _make(self, spec: EngineSpec) -> Engine:
        if spec.kind == "python":
            self.engines[spec.kind] = FaultyEngine(create(spec))
            return self.engines[spec.kind]
        made = {f"{spec.kind} {n}": FaultyEngine(self._one(spec)) for n in range(NUM_INSTANCES)}
        self.engines |= made
        return RoutedEngine(spec.kind, made, random=Random(self.seed), hedge=self.hedge)

    def _one(self, spec: EngineSpec) -> Engine:
        if spec.kind != "llm":
            return create(spec)
        able = {*REMOTE["vllm"], "generate"}
        options = {"capabilities": able, "token_s": 0.2, "prefill_token_s": 0.001}
        self.llms.append(FakeLLM("fake:", options))
        return self.llms[-1]

    def hear(self, event: Event) -> None:
        self.retries += event.kind == "retry"

    async def ask(self, number: int) -> Any:
        def send(answer: str) -> str:
            self.sent[answer] += 1
            return answer.upper()

        symbols = {"look": str.title, "send": send}
        try:
            return await self.runtime.run(
                LAYOUT,
                {"q": f"question {number}"},
                self.specs,
                symbols,
                listener=self.hear,
                timeout_s=LIMIT_S,
            )
        except Exception as error:
            return error

    async def trouble(self) -> None:
        """One engine after another, for ever."""
        random = Random(self.seed)
        while True:
            await asyncio.sleep(random.uniform(0.2, 2.0))
            engine = self.engines[random.choice(sorted(self.engines))]
            self.num_failures += 1
            match random.choice(("kill", "hang", "slow", "error", "overload")):
                case "kill":
                    engine.kill()
                case "hang":
                    engine.hangs = True
                case "slow":
                    engine.slow_s = random.uniform(0.5, 5.0)
                case "error":
                    engine.errors += [MemoryError("out of memory")] * random.randint(1, 4)
                case "overload":
                    engine.errors += [EngineOverloaded("full", random.choice([None, 0.5]))]
            asyncio.get_running_loop().call_later(random.uniform(0.5, 6.0), engine.restart)

    async def run(self, *, fails: bool) -> list[Any]:
        for name, spec in self.specs.items():
            await self.runtime.scheduler(name, spec).load()
        trouble = asyncio.create_task(self.trouble()) if fails else None
        random = Random(self.seed)
        tasks = []
        for number in range(NUM_QUERIES):
            tasks.append(asyncio.create_task(self.ask(number)))
            await asyncio.sleep(random.expovariate(5.0))
        outcomes = await asyncio.gather(*tasks)
        if trouble is not None:
            trouble.cancel()
            await asyncio.wait((trouble,))
        await self.check_empty()
        return outcomes

    async def check_empty(self) -> None:
        """Nothing of the queries is left."""
        await asyncio.sleep(30.0)  # what was aborted at a slow engine ends
        schedulers = [self.runtime.scheduler(name, spec) for name, spec in self.specs.items()]
        assert [scheduler.num_jobs for scheduler in schedulers] == [0, 0, 0]
        assert not any(engine.num_running for engine in self.engines.values())
        assert not any(engine._ends for engine in self.engines.values())
        routed = schedulers[0].engine
        assert isinstance(routed, RoutedEngine)
        assert (routed._running, routed._aborted, routed._waiting) == ({}, set(), {})
        assert not any(scheduler._repeats._texts for scheduler in schedulers)
        assert not any(scheduler._repeats._num_failed for scheduler in schedulers)
        assert sum(llm.num_live_contexts for llm in self.llms) == 0
        await self.runtime.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}


@cache
def right() -> list[Any]:
    """What the queries give where nothing fails."""
    outcomes = run_virtual(World(0).run(fails=False))
    assert all(isinstance(outcome, list) for outcome in outcomes)
    return outcomes


@pytest.mark.parametrize(("seed", "hedge"), [(1, None), (2, 3.0)])
def test_each_query_ends_well_or_with_a_typed_error_and_leaves_nothing(
    seed: int, hedge: float | None
) -> None:
    world = World(seed, hedge)

    async def main() -> tuple[list[Any], float]:
        outcomes = await world.run(fails=True)
        return outcomes, now()

    outcomes, took_s = run_virtual(main())
    assert len(outcomes) == NUM_QUERIES
    well = 0
    for outcome, expected in zip(outcomes, right(), strict=True):
        if isinstance(outcome, list):
            assert outcome[0] == expected[0]
            assert list(outcome[1]) == list(expected[1])
            assert outcome[2] == expected[2]
            assert world.sent[outcome[0]] == 1
            well += 1
        else:
            assert isinstance(outcome, QueryTimeout | NodeFailed), repr(outcome)
            cause = outcome.cause if isinstance(outcome, NodeFailed) else outcome
            assert isinstance(cause, EngineError | QueryError), repr(cause)
    assert max(world.sent.values()) == 1
    print(f"{well} of {NUM_QUERIES} well, {world.retries} retries, {world.num_failures} failures")
    assert world.num_failures > 50
    assert well > 0.8 * NUM_QUERIES
    assert took_s < 100 + LIMIT_S + 31
