"""Tools that are tried again, and tools that take too long, in virtual time."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from backends.errors import RequestRejected
from runtime.clock import now, run_virtual
from runtime.errors import NodeFailed, QueryTimeout, ToolTimeout

Worlds = Callable[..., Any]


def calling(attrs: str) -> str:
    return f"""\
graph g {{
  %a = call "x" [engine="tools", fn="work", {attrs}]
  return %a
}}"""


class Flaky:
    """Fails some times, then answers; keeps when it was called."""

    def __init__(self, num_failures: int, error: Exception | None = None) -> None:
        self.left = num_failures
        self.error = error
        self.times: list[float] = []

    def __call__(self, text: str) -> str:
        self.times.append(now())
        self.left -= 1
        if self.left >= 0:
            raise self.error or ConnectionError(f"failure {len(self.times)}")
        return text.upper()


def run(world: Any, attrs: str, work: Callable[[str], str], **options: Any) -> Any:
    (result,) = world.run_all(calling(attrs), symbols={"work": work}, **options)
    return result


def test_a_tool_that_fails_is_called_again_after_a_wait_that_doubles(world: Worlds) -> None:
    work, w = Flaky(3), world()
    assert run(w, "retries=3", work) == ["X"]
    waits = [later - earlier for earlier, later in pairwise(work.times)]
    for wait, most in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert most / 2 <= wait <= most
    told = [event.fields["error"] for event in w.log.events if event.kind == "retry"]
    assert told == [f"ConnectionError: failure {n}" for n in (1, 2, 3)]
    again = Flaky(3)
    run(world(), "retries=3", again)
    assert again.times == work.times


def test_after_the_last_try_its_error_is_the_nodes(world: Worlds) -> None:
    work = Flaky(9)
    error = run(world(), "retries=2", work)
    assert isinstance(error, NodeFailed)
    assert str(error.cause) == "failure 3"
    assert len(work.times) == 3


def test_what_an_engine_refuses_is_not_tried_again(world: Worlds) -> None:
    work = Flaky(9, RequestRejected("no such page"))
    assert isinstance(run(world(), "retries=2", work), NodeFailed)
    assert len(work.times) == 1


def test_a_tool_that_takes_too_long_fails_with_its_own_error(world: Worlds) -> None:
    w = world(tools={"latency_s": 1.0})
    error = run(w, "timeout_s=0.5", str)
    assert isinstance(error, ToolTimeout)
    assert str(error) == "%a failed: it took longer than 0.5 s"
    assert w.log.events[-1].t == 0.5


def test_a_tool_in_time_has_no_timer_left(world: Worlds) -> None:
    w = world(tools={"latency_s": 0.4})
    assert run(w, "timeout_s=0.5", str.upper) == ["X"]

    async def main() -> None:
        await w.run(calling("timeout_s=0.5"), {}, {"work": str})
        assert not asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]

    w = world()
    run_virtual(main())


def test_the_time_counts_from_the_start_at_the_engine_and_for_each_try(world: Worlds) -> None:
    w = world(tools={"latency_s": 1.0, "num_slots": 1})
    work = Flaky(0)
    text = calling("timeout_s=1.5, pure=true")
    first, second = w.run_all(
        text,
        text.replace('"x"', '"y"').replace("timeout_s", "retries=1, timeout_s"),
        symbols={"work": work},
    )
    assert (first, second) == (["X"], ["Y"])
    w = world(tools={"latency_s": 1.0})
    error = run(w, "retries=1, timeout_s=0.5", str)
    assert isinstance(error, ToolTimeout)
    assert w.log.events[-1].t == 1.5  # the fake engine's slot is busy until 1.0


def test_a_query_that_ends_while_a_tool_waits_for_its_next_try_leaves_nothing(
    world: Worlds,
) -> None:
    work, w = Flaky(9), world()

    async def main() -> int:
        with pytest.raises(QueryTimeout):
            await w.run(calling("retries=9"), {}, {"work": work}, timeout_s=0.2)
        num_calls = len(work.times)
        await asyncio.sleep(60)
        await w.runtime.close()
        return num_calls

    assert 2 <= run_virtual(main()) == len(work.times) <= 4


def test_no_wait_is_longer_than_ten_seconds(world: Worlds) -> None:
    work = Flaky(10)
    assert run(world(), "retries=10", work) == ["X"]
    waits = [later - earlier for earlier, later in pairwise(work.times)]
    assert max(waits) <= 10 < 0.1 * 2**9 / 2


@pytest.mark.parametrize("attrs", ["retries=3", "timeout_s=5"])
def test_a_cancelled_try_is_cancelled_at_its_engine(world: Worlds, attrs: str) -> None:
    w = world(tools={"latency_s": 1.0})

    async def main() -> None:
        task = asyncio.create_task(w.run(calling(attrs), {}, {"work": str}))
        await asyncio.sleep(0.5)
        aborted: list[str] = []
        engine = w.runtime.scheduler("tools", w.specs["tools"]).engine
        engine.abort = aborted.append
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(aborted) == 1
        await w.runtime.close()

    run_virtual(main())
