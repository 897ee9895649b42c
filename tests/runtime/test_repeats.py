"""Work without effects runs again where its engine failed; all else does not."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import (
    ConfigError,
    EngineOverloaded,
    EngineTimeout,
    EngineUnavailable,
    RequestRejected,
)
from backends.fake.faulty import FaultyEngine
from backends.registry import EngineSpec, create
from backends.retry_budget import LEAST, MOST, SHARE, RetryBudget
from graph_opt.text import parse
from runtime.clock import now, run_virtual
from runtime.errors import NodeFailed, QueryTimeout
from runtime.events import EventLog
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
  %text, %c2 = decode %c1 [engine="it", max_tokens=4ATTRS]
  return %text
}"""
CALL = """\
graph g {
  %a = call "x" [engine="it", fn="work"ATTRS]
  return %a
}"""
GONE = EngineUnavailable("gone")


class World:
    """One engine that fails on request, and the events of all queries."""

    def __init__(self, kind: Any = "embedder", **options: Any) -> None:
        self.spec = EngineSpec(kind, "fake:", options)
        self.log = EventLog()
        self.engine: FaultyEngine
        self.runtime = Runtime(make=self._make)
        scheduler = self.runtime.scheduler("it", self.spec)
        assert scheduler.engine is self.engine

    def _make(self, spec: EngineSpec) -> FaultyEngine:
        self.engine = FaultyEngine(create(spec))
        return self.engine

    async def ask(self, text: str, symbols: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """The result, or the exception that ended the query."""
        layout = layout_of(parse(text))
        given = {"it": self.spec}
        try:
            (result,) = await self.runtime.run(
                layout, {}, given, symbols or {}, listener=self.log, **options
            )
        except Exception as error:
            return error
        return result

    @property
    def retries(self) -> list[str]:
        return [event.fields["error"] for event in self.log.events if event.kind == "retry"]

    def run(self, text: str = EMBED, **options: Any) -> Any:
        async def main() -> Any:
            await self.ask(EMBED)
            self.log.events.clear()
            self.engine.errors = list(options.pop("errors", ()))
            result = await self.ask(text, **options)
            await self.runtime.close()
            return result

        return run_virtual(main())


@pytest.mark.parametrize("error", [GONE, EngineOverloaded("full"), ZeroDivisionError("a mistake")])
def test_pure_work_runs_again_where_its_engine_failed(error: Exception) -> None:
    world = World()
    assert not isinstance(world.run(errors=[error, error]), Exception)
    assert len(world.retries) == 2
    assert [event.kind for event in world.log.events if event.node] == [
        *("ready", "start", "retry", "start", "retry", "start", "end")
    ]


def test_the_third_failure_is_the_nodes() -> None:
    world = World()
    failure = world.run(errors=[GONE] * 3)
    assert isinstance(failure, NodeFailed)
    assert failure.cause is GONE
    assert world.engine.num_batches == 4  # the first one loads


def test_the_option_retries_says_how_often() -> None:
    assert isinstance(World(retries=0).run(errors=[GONE]), NodeFailed)
    assert not isinstance(World(retries=5).run(errors=[GONE] * 5), Exception)
    with pytest.raises(ConfigError, match="retries"):
        World(retries=-1)


def test_what_the_engine_refused_does_not_run_again() -> None:
    world = World()
    assert isinstance(world.run(errors=[RequestRejected("no")]), NodeFailed)
    assert not world.retries


@pytest.mark.parametrize(
    ("attrs", "num_calls"), [("", 1), (", pure=true", 2), (", retries=1", 2), (", reads=true", 2)]
)
def test_an_effect_runs_again_only_if_it_says_so(attrs: str, num_calls: int) -> None:
    world, calls = World("python"), []

    def work(text: str) -> str:
        calls.append(text)
        if len(calls) == 1:
            raise EngineUnavailable("the tool's server is gone")
        return text

    async def main() -> Any:
        await world.ask(CALL.replace("ATTRS", ", pure=true").replace("work", "len"), {"len": len})
        result = await world.ask(CALL.replace("ATTRS", attrs), {"work": work})
        await world.runtime.close()
        return result

    result = run_virtual(main())
    assert len(calls) == num_calls
    assert isinstance(result, NodeFailed) if num_calls == 1 else result == "x"


def test_an_engine_that_cannot_be_loaded_fails_at_once() -> None:
    world = World()
    world.engine.is_down = True

    async def main() -> Any:
        result = await world.ask(EMBED)
        took_s = now()
        await world.runtime.close()
        return result, took_s

    result, took_s = run_virtual(main())
    assert isinstance(result, NodeFailed)
    assert took_s == 0
    assert not world.retries


def test_the_wait_is_at_least_what_an_engine_without_room_asks_for() -> None:
    world = World()
    world.run(errors=[EngineOverloaded("full", 5.0)])
    (retry,) = [event for event in world.log.events if event.kind == "retry"]
    assert 5.0 < retry.fields["after_s"] < 5.2
    assert isinstance(World().run(errors=[EngineOverloaded("full", 500.0)]), NodeFailed)


def test_a_text_that_was_told_in_part_is_told_on_from_there() -> None:
    world = World("llm", token_s=1.0)

    async def main() -> Any:
        task = asyncio.create_task(world.ask(WRITE.replace("ATTRS", "")))
        await asyncio.sleep(2.5)
        world.engine.kill()
        world.engine.restart()
        result = await task
        await world.runtime.close()
        return result

    text = run_virtual(main())
    told = "".join(event.fields["text"] for event in world.log.events if event.kind == "text")
    assert told == text
    assert len(world.retries) == 1


def test_a_text_that_was_drawn_and_told_in_part_is_not_written_again() -> None:
    world = World("llm", token_s=1.0)

    async def main() -> Any:
        task = asyncio.create_task(world.ask(WRITE.replace("ATTRS", ", temperature=1.0")))
        await asyncio.sleep(2.5)
        world.engine.kill()
        world.engine.restart()
        result = await task
        await world.runtime.close()
        return result

    assert isinstance(run_virtual(main()), NodeFailed)


def test_a_query_that_ends_meanwhile_leaves_nothing() -> None:
    world = World(retries=50)

    async def main() -> int:
        await world.ask(EMBED)
        world.engine.is_down = True
        assert isinstance(await world.ask(EMBED, timeout_s=0.2), QueryTimeout)
        jobs = world.runtime.scheduler("it", world.spec).num_jobs
        assert not asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        await world.runtime.close()
        return jobs

    assert run_virtual(main()) == 0


def test_a_runtime_that_closes_ends_what_waits_for_its_next_try() -> None:
    world = World(retries=50)

    async def main() -> Any:
        await world.ask(EMBED)
        world.engine.is_down = True
        task = asyncio.create_task(world.ask(EMBED))
        await asyncio.sleep(0.2)
        await world.runtime.close()
        return await task

    failure = run_virtual(main())
    assert isinstance(failure, NodeFailed)
    assert "was closed" in str(failure)


def test_an_outage_is_not_made_worse_by_repetitions() -> None:
    world = World()

    async def main() -> list[Any]:
        await world.ask(EMBED)
        world.engine.errors = [GONE] * 5000
        before = world.engine.num_batches
        asked = [world.ask(EMBED.replace('"x"', f'"x{i}"')) for i in range(200)]
        outcomes = await asyncio.gather(*asked)
        await world.runtime.close()
        assert world.engine.num_batches - before <= 200 + LEAST + SHARE * 201 + 1
        return outcomes

    outcomes = run_virtual(main())
    assert all(isinstance(outcome, NodeFailed) for outcome in outcomes)
    notes = [note for one in outcomes for note in getattr(one.cause, "__notes__", ())]
    assert any("too many requests" in note for note in notes)


def test_a_request_that_takes_too_long_is_aborted_and_tried_again() -> None:
    world = World("llm", timeout_s=3.0)

    async def main() -> Any:
        await world.ask(WRITE.replace("ATTRS", ""))
        world.engine.hangs = True
        task = asyncio.create_task(world.ask(WRITE.replace("ATTRS", "")))
        await asyncio.sleep(3.05)
        world.engine.hangs = False
        result = await task
        assert not world.engine.num_running
        await world.runtime.close()
        return result, now()

    result, took_s = run_virtual(main())
    assert isinstance(result, str)
    assert took_s < 3.2
    assert world.retries == ["EngineTimeout: engine 'it' gave no answer within 3 s (timeout_s)"]


def test_an_engine_that_does_not_stop_is_left_alone() -> None:
    world = World("llm", timeout_s=3.0, retries=0)

    async def main() -> Any:
        await world.ask(WRITE.replace("ATTRS", ""))
        world.engine.hangs = True
        world.engine.abort = lambda request_id: None  # type: ignore[method-assign]
        result = await world.ask(WRITE.replace("ATTRS", ""))
        await world.runtime.close()
        return result, now()

    failure, took_s = run_virtual(main())
    assert isinstance(failure.cause, EngineTimeout)
    assert took_s == 4.0


Times = st.lists(st.floats(0, 100), max_size=200)


@given(Times, st.integers(0, 300))
def test_no_more_is_sent_again_than_a_share_and_what_a_quiet_time_gives(
    times: list[float], num_sent: int
) -> None:
    budget = RetryBudget()
    for _ in range(num_sent):
        budget.sent()
    taken = sum(budget.take(at_s) for at_s in sorted(times))
    assert taken <= min(MOST, LEAST + SHARE * num_sent) + 100 / 2 + 1e-6
