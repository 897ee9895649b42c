"""A server without a second instance that is gone is left alone, and its queries fail at once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from backends.base import EngineInfo, Result, Usage
from backends.errors import (
    EngineLeftAlone,
    EngineTimeout,
    EngineUnavailable,
    RequestAborted,
    RequestRejected,
)
from backends.fake.faulty import FaultyEngine
from backends.registry import EngineSpec, create
from graph_opt.text import parse
from runtime.circuit import LONGEST_PAUSE_S, Circuit
from runtime.clock import now, run_virtual
from runtime.errors import NodeFailed
from runtime.layout import layout_of
from runtime.service import Runtime

EMBED = """\
graph g {
  %a = embed "x" [engine="it"]
  return %a
}"""
WRITE = """\
graph g {
  %c0 = context [engine="it"]
  %c1 = prefill %c0 @user "Say" @assistant [engine="it"]
  %text, %c2 = decode %c1 [engine="it", max_tokens=4]
  return %text
}"""
DEAD_S = 6.0  # that a request takes to find out


class Client(FaultyEngine):
    """As a client of one server: it has tried again itself before it fails."""

    @property
    def info(self) -> EngineInfo:
        return replace(self.engine.info, repeats=True)

    async def execute(self, requests: Any) -> Any:
        if self.is_down and requests[0].op != "prefill":
            self.num_batches += 1
            await asyncio.sleep(DEAD_S)
        elif requests[0].op == "prefill":  # which asks no server
            return await self.engine.execute(requests)
        return await super().execute(requests)


class World:
    def __init__(self, text: str = EMBED, **options: Any) -> None:
        kind: Any = "embedder" if text is EMBED else "llm"
        self.spec = EngineSpec(
            kind, "fake:", {"latency_s": 0.01, **options} if kind == "embedder" else options
        )
        self.layout = layout_of(parse(text))
        self.runtime = Runtime(make=self._make)
        self.engine: Client
        self.runtime.scheduler("it", self.spec)

    def _make(self, spec: EngineSpec) -> Client:
        self.engine = Client(create(spec))
        return self.engine

    async def ask(self) -> Any:
        """The result or the cause of the failure, and how long that took."""
        began_s = now()
        try:
            found = await self.runtime.run(self.layout, {}, {"it": self.spec}, {}, memo=False)
        except NodeFailed as error:
            found = error.cause
        return found, now() - began_s

    async def fail_until_open(self) -> None:
        for _ in range(3):
            found, took_s = await self.ask()
            assert isinstance(found, EngineUnavailable)
            assert not isinstance(found, EngineLeftAlone)
            assert took_s == pytest.approx(DEAD_S)

    def run(self, work: Any) -> None:
        async def main() -> None:
            await self.runtime.scheduler("it", self.spec).load()
            await work()
            await self.runtime.close()
            assert len(asyncio.all_tasks()) == 1

        run_virtual(main())


def test_nobody_waits_for_ever_for_a_request_that_tries_a_server_which_hangs() -> None:
    async def main() -> None:
        circuit = Circuit("it", Client(create(EngineSpec("embedder", "fake:"))))
        for _ in range(3):
            circuit.leave([EngineUnavailable("it is gone")], await circuit.enter())
        await asyncio.sleep(1.1)
        probe = await circuit.enter()
        assert probe is not None
        began_s = now()
        with pytest.raises(EngineLeftAlone, match="while a request tries it: it is gone"):
            await circuit.enter()
        assert now() - began_s == pytest.approx(LONGEST_PAUSE_S)
        circuit.leave([Result((), Usage())], probe)
        assert await circuit.enter() is None

    run_virtual(main())


@pytest.mark.parametrize("text", [EMBED, WRITE])
def test_after_three_failures_and_a_probe_queries_fail_at_once_and_say_when_it_is_tried(
    text: str,
) -> None:
    options = {} if text is EMBED else {"capabilities": ["warm_up", "prefill", "generate"]}
    world = World(text, **options)

    async def work() -> None:
        world.engine.is_down = True
        await world.fail_until_open()
        found, took_s = await world.ask()  # waits for the first pause, and is the probe
        assert DEAD_S < took_s <= DEAD_S + 1.0
        num_sent = world.engine.num_batches
        for _ in range(100):
            found, took_s = await world.ask()
            assert isinstance(found, EngineLeftAlone)
            assert "'it' failed again and again and is left alone for" in str(found)
            assert 0.0 < found.retry_after_s <= 2.0
            assert took_s < 0.01
        assert world.engine.num_batches == num_sent

    world.run(work)


def test_a_server_that_was_never_there_is_left_alone_too() -> None:
    world = World(WRITE, capabilities=["warm_up", "prefill", "generate"])
    world.engine.is_down = True

    async def main() -> None:
        found = [(await world.ask())[0] for _ in range(6)]
        assert not isinstance(found[2], EngineLeftAlone)
        assert isinstance(found[5], EngineLeftAlone)
        world.engine.is_down = False
        await asyncio.sleep(10.0)
        assert isinstance((await world.ask())[0], list)
        await world.runtime.close()

    run_virtual(main())


def test_in_the_first_pause_queries_wait_and_go_on_when_the_server_is_back() -> None:
    world = World(max_batch_items=1, num_slots=8)

    async def work() -> None:
        world.engine.is_down = True
        await world.fail_until_open()
        world.engine.is_down = False
        outcomes = await asyncio.gather(*(world.ask() for _ in range(20)))
        assert not any(isinstance(found, Exception) for found, _ in outcomes)
        assert max(took_s for _, took_s in outcomes) < 1.1

    world.run(work)


def test_a_server_that_is_back_is_found_within_ten_seconds() -> None:
    world = World()

    async def work() -> None:
        world.engine.is_down = True
        end_s = now() + 300.0
        while now() < end_s:
            await world.ask()
            await asyncio.sleep(0.1)
        assert world.engine.num_batches < 30
        world.engine.is_down = False
        back_s = now()
        while isinstance((await world.ask())[0], Exception):
            await asyncio.sleep(0.1)
        assert now() - back_s <= 10.2
        assert (await world.ask())[1] < 0.1

    world.run(work)


def test_answers_of_a_server_that_is_well_leave_it_closed() -> None:
    world = World()

    async def work() -> None:
        refusals = [RequestRejected("no"), EngineTimeout("late"), EngineUnavailable("reset")]
        for _ in range(5):
            world.engine.errors += refusals
            found = [(await world.ask())[0] for _ in range(4)]
            assert [type(each) for each in found[:3]] == [type(each) for each in refusals]
            assert isinstance(found[3], list)

    world.run(work)


def test_a_probe_that_is_cancelled_lets_another_one_go() -> None:
    world = World()

    async def work() -> None:
        world.engine.is_down = True
        await world.fail_until_open()
        await asyncio.sleep(2.0)
        world.engine.is_down, world.engine.hangs = False, True
        probe = asyncio.create_task(world.ask())
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(world.ask()) for _ in range(3)]
        await asyncio.sleep(0.1)
        probe.cancel()
        await asyncio.wait((probe,))
        world.engine.restart()
        outcomes = await asyncio.gather(*others)
        assert not any(isinstance(found, Exception) for found, _ in outcomes)

    world.run(work)


def test_a_given_up_probe_that_ends_as_an_error_of_any_kind_leaves_the_server_alone() -> None:
    world = World()

    async def work() -> None:
        circuit = world.runtime.scheduler("it", world.spec)._runs._circuit
        assert circuit is not None
        world.engine.is_down = True
        await world.fail_until_open()
        await asyncio.sleep(2.0)
        world.engine.is_down, world.engine.hangs = False, True
        for _ in range(2):
            num_sent = world.engine.num_batches
            probe = asyncio.create_task(world.ask())
            await asyncio.sleep(0.1)
            assert world.engine.num_batches == num_sent + 1
            probe.cancel()
            await asyncio.wait((probe,))
            await asyncio.sleep(0.1)
            assert circuit._breaker.is_open
        world.engine.restart()
        assert isinstance((await world.ask())[0], list)
        assert not circuit._breaker.is_open

    world.run(work)


def test_a_probe_that_its_caller_gave_up_does_not_say_that_the_server_is_back() -> None:
    async def main() -> None:
        circuit = Circuit("it", create(EngineSpec("embedder", "fake:")))
        for _ in range(3):
            circuit.leave([EngineUnavailable("gone")], await circuit.enter())
        began_s, probe = now(), await circuit.enter()
        assert probe is not None
        assert now() > began_s
        circuit.leave([RequestAborted(Usage())], probe)
        again = await circuit.enter()
        assert again is not None
        circuit.leave([EngineUnavailable("gone")], again)
        with pytest.raises(EngineLeftAlone):
            await circuit.enter()

    run_virtual(main())
