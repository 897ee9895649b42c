"""An engine in a process of its own: crashes, restarts, hangs, ends. The child is a stand-in on a
virtual clock, but for one test with a real model."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from backends.base import Request, Result
from backends.engine_load import EngineLoad
from backends.errors import ConfigError, EngineUnavailable
from backends.fake.faulty import FaultyEngine
from backends.fake.llm import FakeLLM
from backends.processes.child import Child
from backends.processes.process_engine import ProcessEngine
from backends.registry import EngineSpec, create
from backends.remote.routing.routed_engine import RoutedEngine
from runtime.clock import now, run_virtual


def asked(number: int = 0) -> Request:
    return Request(f"{number:032x}", "generate", ("one two",), {"max_tokens": 4})


class StandIn:
    """A child that takes a second to start."""

    def __init__(self, machine: "Machine") -> None:
        self.machine = machine
        self.is_alive = True
        self.is_stopped = False

    async def ready(self) -> None:
        await asyncio.sleep(1.0)
        if self.machine.num_failing_starts:
            self.machine.num_failing_starts -= 1
            self.is_alive = False
            raise EngineUnavailable("it did not start")
        self.machine.client.restart()

    def failure(self, what: str) -> EngineUnavailable:
        return EngineUnavailable(f"the process {what}")

    async def stop(self, grace_s: float = 1.0) -> None:
        self.kill()
        self.is_stopped = True

    def kill(self) -> None:
        self.is_alive = False
        self.machine.client.kill()


class Client(FaultyEngine):
    """A client that tells whether its server answers."""

    async def load(self) -> EngineLoad:
        if self.hangs:
            await asyncio.sleep(3600)
        return EngineLoad()


class Machine:
    """An engine whose process is made up."""

    def __init__(self, *, waits: bool = True) -> None:
        options = {"capabilities": ["generate"], "token_s": 0.5}
        self.client = Client(FakeLLM("fake:", options))
        self.num_failing_starts = 0
        self.children: list[StandIn] = []
        self.engine = ProcessEngine("process:it", self._make, self.client, waits=waits)

    def _make(self) -> StandIn:
        self.children.append(StandIn(self))
        return self.children[-1]

    async def ask(self) -> Any:
        try:
            return (await self.engine.execute([asked()]))[0]
        except EngineUnavailable as error:
            return error


def on(machine: Machine, work: Callable[[], Any]) -> Any:
    async def main() -> Any:
        await machine.engine.start()
        try:
            return await work()
        finally:
            await machine.engine.close()
            assert len(asyncio.all_tasks()) == 1
            assert all(child.is_stopped for child in machine.children)

    return run_virtual(main())


def test_what_runs_when_the_process_dies_fails_and_the_next_request_waits_for_the_new_one() -> None:
    machine = Machine()

    async def work() -> None:
        running = asyncio.create_task(machine.ask())
        await asyncio.sleep(0.6)
        machine.children[0].kill()
        assert isinstance(await running, EngineUnavailable)
        assert isinstance(await machine.ask(), Result)
        assert machine.engine.num_restarts == 1
        assert 1.6 + 1.5 <= now() < 1.6 + 1.7 + 2.5

    on(machine, work)


def test_where_there_are_others_a_request_does_not_wait() -> None:
    machine = Machine(waits=False)

    async def work() -> None:
        machine.children[0].kill()
        assert isinstance(await machine.ask(), EngineUnavailable)
        assert now() == 1.0
        await asyncio.sleep(3.0)
        assert isinstance(await machine.ask(), Result)

    on(machine, work)


def test_starts_that_fail_are_further_and_further_apart_and_requests_fail_at_once() -> None:
    machine = Machine()

    async def work() -> None:
        machine.num_failing_starts = 4
        machine.children[0].kill()
        assert isinstance(await machine.ask(), EngineUnavailable)
        failed_s = now()
        assert failed_s <= 1.0 + 0.2 + 0.5 + 1.0
        refused = await machine.ask()
        assert now() == failed_s
        assert "it did not start; it is tried again in 1.0 s" in str(refused)
        await asyncio.sleep(1.5)
        assert str(await machine.ask()).endswith("it did not start; it is tried again now")
        while not isinstance(await machine.ask(), Result):
            await asyncio.sleep(0.1)
        assert now() >= 1.0 + (0.5 + 1 + 2 + 4 + 8) + 5 * 1.0
        assert isinstance(await machine.ask(), Result)

    on(machine, work)


def test_a_process_that_answers_nothing_any_more_is_replaced() -> None:
    machine = Machine()

    async def work() -> None:
        machine.client.hangs = True
        assert isinstance(await machine.ask(), EngineUnavailable)
        assert isinstance(await machine.ask(), Result)
        assert len(machine.children) == 2

    on(machine, work)


def test_a_close_while_requests_wait_ends_them() -> None:
    machine = Machine()

    async def work() -> None:
        machine.children[0].kill()
        waiting = asyncio.create_task(machine.ask())
        await asyncio.sleep(0.3)
        await machine.engine.close()
        assert "was closed" in str(await waiting)

    on(machine, work)


def test_a_process_is_for_engines_that_load_a_model() -> None:
    for url in ("process:", "process:vllm://a/b", "process:process:local:x", "process:fake:"):
        with pytest.raises(ConfigError):
            create(EngineSpec("llm", url))
    with pytest.raises(ConfigError, match="dtyp"):
        create(EngineSpec("llm", "process:local:smollm2-135m", {"dtyp": "float32"}))


def test_a_child_that_cannot_start_shows_its_log() -> None:
    async def main() -> None:
        child = Child("process:local:nothing", ["local:/nothing.gguf"], 0)
        try:
            with pytest.raises(EngineUnavailable, match=r"did not start(?s:.*)nothing"):
                await child.ready()
        finally:
            await child.stop()

    asyncio.run(main())


def test_a_process_takes_the_policy_that_orders_its_steps() -> None:
    async def main() -> None:
        spec = EngineSpec("llm", "process:emulated:h100/llama-3.1-8b", {"tokenizer": "bytes"})
        engine = create(spec)
        try:
            await engine.start()
            assert "policies" in engine.info.capabilities
        finally:
            await engine.close()

    asyncio.run(main())


@pytest.mark.model
def test_of_two_real_processes_one_is_killed_and_no_request_is_lost() -> None:
    requests = [
        Request(f"{n:032x}", "generate", (f"Count from {n}:",), {"max_tokens": 8})
        for n in range(12)
    ]

    async def texts() -> list[Any]:
        engine = create(EngineSpec("llm", "process:local:smollm2-135m", {"instances": 2}))
        await engine.start()
        try:
            work = asyncio.create_task(engine.execute(requests))
            assert isinstance(engine, RoutedEngine)
            first = engine.endpoints[0].engine
            assert isinstance(first, ProcessEngine)
            assert isinstance(first.child, Child)
            await asyncio.sleep(0.05)
            os.killpg(first.child.pid, signal.SIGKILL)
            return [one.outputs[0] if isinstance(one, Result) else one for one in await work]
        finally:
            await engine.close()

    before = set(psutil.Process().children(recursive=True))
    files = psutil.Process().num_fds()
    found = asyncio.run(texts())
    assert set(psutil.Process().children(recursive=True)) <= before
    assert psutil.Process().num_fds() <= files + 2  # of modules that were loaded meanwhile
    assert all(isinstance(text, str) and text for text in found)
