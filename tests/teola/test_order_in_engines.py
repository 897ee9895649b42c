"""Inside the embedded engine, through apps: what somebody waits for overtakes bulk work, and a task
group ends together.

The engine is held at chosen steps until the requests that a test is about are there; from then on
its steps are the same in every run. `Served` tells the steps that each request was in.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import teola as tl
from backends.llm.engine import LLMEngine
from backends.policy.fcfs import fcfs
from runtime.events import Event
from teola.runner import AppRunner, chosen_runner

Policy = Literal["fcfs", "application_aware", "shortest_remaining"]
Folder = Callable[..., Path]
WAIT_S = 30.0  # at most, for what comes at once


class Watch:
    """Hears runs: counts the starts at the LLM, and keeps the steps that each request was in."""

    def __init__(self) -> None:
        self.steps: dict[str, tuple[int, int]] = {}  # first and last, by query and path
        self._num_started = 0
        self._turns: dict[int, asyncio.Event] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "start" and event.fields["engine"] == "llm":
            self._num_started += 1
            self.turn(self._num_started).set()
        if event.kind == "end" and "served" in event.fields:
            served = event.fields["served"]
            steps = served["first_step"], served["last_step"]
            self.steps[f"{event.query}.{event.node}"] = steps

    def turn(self, number: int) -> asyncio.Event:
        """Set when so many requests have started."""
        return self._turns.setdefault(number, asyncio.Event())

    def open_at(self, number: int, gate: threading.Event) -> Callable[[Event], None]:
        """A listener that opens a gate when so many have started, and are in the engine's inbox."""

        def heard(event: Event) -> None:
            self(event)
            if self._num_started == number and event.kind == "start":
                asyncio.get_running_loop().call_soon(gate.set)

        return heard

    @property
    def queries(self) -> list[str]:
        return list(dict.fromkeys(at.partition(".")[0] for at in self.steps))

    def ends(self, query: str, part: str = "") -> list[int]:
        """The last steps of a query's requests, or of those whose paths begin so."""
        return [last for at, (_, last) in self.steps.items() if at.startswith(f"{query}.{part}")]


@contextmanager
def engine_of(llm: tl.LLM) -> Iterator[LLMEngine]:
    """Loaded, in a runner of its own that takes requests as they come."""
    runner = AppRunner(fcfs)
    with chosen_runner(runner):
        try:
            say = tl.prompt(llm, max_tokens=1)(_hello)
            tl.app(_greeting(say)).using(memo=False)()
            (engine,) = (each for _, each in runner.engines if isinstance(each, LLMEngine))
            yield engine
        finally:
            runner.close()


def _hello() -> str:
    return "Hello"


def _greeting(say: Callable[[], str]) -> Callable[[], str]:
    def greeting() -> str:
        return say()

    return greeting


def held_at(engine: LLMEngine, *gates: tuple[int, threading.Event]) -> None:
    """The engine waits before these steps, counted from now, until their gates open."""
    core: Any = engine._core
    step, due = core.step, {core.num_steps + number: gate for number, gate in gates}

    def held() -> Any:
        if (gate := due.pop(core.num_steps, None)) is not None:
            assert gate.wait(WAIT_S), "the requests did not come"
        return step()

    core.step = held


def tiny(folder: Folder, policy: Policy) -> tl.LLM:
    options: dict[str, Any] = {"policy": policy, "token_budget": 32, "max_running": 8}
    url = f"local:{folder('llama', max_position_embeddings=2048)}"
    return tl.LLM(url, dtype="float32", kv_tokens=16384, **options)


def overtaking(folder: Folder, policy: Policy, objective: str) -> tuple[int, list[int]]:
    """The last steps of a short query that comes when the engine is in its fifth step with three
    long prompts of another, which has a call more to do, and of these prompts."""
    llm = tiny(folder, policy)

    @tl.prompt(llm, max_tokens=2)
    def read(text: str) -> str:
        return text

    @tl.app
    def bulk(texts: list[str]) -> str:
        return read(tl.join(tl.map(read, texts), sep=" "))

    @tl.app
    def short(text: str) -> str:
        return read(text)

    async def main(engine: LLMEngine) -> None:
        first, second, watch = threading.Event(), threading.Event(), hears
        held_at(engine, (0, first), (5, second))
        long = bulk.using(memo=False, objective=objective, listener=watch.open_at(3, first))
        texts = [f"{number} " * 200 for number in range(3)]
        running = asyncio.ensure_future(long.arun(texts))
        await asyncio.to_thread(first.wait, WAIT_S)
        await short.using(memo=False, listener=watch.open_at(4, second)).arun("Now?")
        await running

    hears = Watch()
    with engine_of(llm) as engine:
        asyncio.run(main(engine))
    late = next(query for query in hears.queries if len(hears.ends(query)) == 1)
    prompts = [hears.ends(query, "map[") for query in hears.queries if query != late]
    return hears.ends(late)[0], prompts[0]


def test_a_query_that_somebody_waits_for_overtakes_bulk_work_under_any_policy(
    tiny_folder: Folder,
) -> None:
    late, bulk = overtaking(tiny_folder, "fcfs", "throughput")
    assert late <= 10
    assert min(bulk) > 10
    assert max(bulk) >= 18  # 1,200 tokens in steps of 32


def test_the_query_with_less_left_overtakes_one_of_the_same_objective_and_fcfs_lets_it_wait(
    tiny_folder: Folder,
) -> None:
    late, bulk = overtaking(tiny_folder, "shortest_remaining", "latency")
    assert late < min(bulk)
    late, bulk = overtaking(tiny_folder, "fcfs", "latency")
    assert late > max(bulk) - 3


def interleaved(folder: Folder, policy: Policy) -> list[list[int]]:
    """The last steps of two groups of four requests that come to the engine in turns."""
    llm, hears = tiny(folder, policy), Watch()

    @tl.tool(pure=True)
    async def in_turn(item: str) -> str:
        number = int(item.split()[0])
        if number:
            await asyncio.wait_for(hears.turn(number).wait(), WAIT_S)
        return item

    @tl.prompt(llm, max_tokens=2)
    def read(text: str) -> str:
        return text

    @tl.app
    def each(items: list[str]) -> str:
        return read(tl.join(tl.map(lambda item: read(in_turn(item)), items), sep=" "))

    async def main(engine: LLMEngine) -> None:
        gate = threading.Event()
        held_at(engine, (0, gate))
        app = each.using(memo=False, listener=hears.open_at(8, gate))
        groups = [[f"{2 * n + own} " * 60 for n in range(4)] for own in range(2)]
        runs: list[Awaitable[list[str]]] = [app.arun(items) for items in groups]
        await asyncio.gather(*runs)

    with engine_of(llm) as engine:
        asyncio.run(main(engine))
    return [hears.ends(query, "map[") for query in hears.queries]


def spread(ends: list[int]) -> int:
    return max(ends) - min(ends)


def test_a_task_group_ends_together_and_under_fcfs_it_is_spread_over_that_of_others(
    tiny_folder: Folder,
) -> None:
    together = interleaved(tiny_folder, "application_aware")
    spread_out = interleaved(tiny_folder, "fcfs")
    assert sum(map(spread, together)) <= 0.75 * sum(map(spread, spread_out))
    first, first_spread_out = (min(map(max, ends)) for ends in (together, spread_out))
    assert first < 0.75 * first_spread_out
