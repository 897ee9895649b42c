"""What is left of a query follows what the query really does, not what the plan expected."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.base import Request
from graph_opt.cost_model import UnitCost
from graph_opt.graph import Node
from runtime.clock import run_virtual

Worlds = Callable[..., Any]

MAP = """\
graph g {
  %xs = input [type="list[str]"]
  %m = map %xs {
    %x = input [type="str"]
    %v = embed %x [engine="embedder"]
    return %v
  }
  %all = call %m [engine="tools", fn="f"]
  return %all
}"""

LOOP = """\
graph g {
  %x = input [type="str"]
  %last = loop %x [max=5] {
    %s = input [type="str"]
    %next = call %s [engine="tools", fn="f"]
    %go = call %next [engine="tools", fn="more"]
    return %next, %go
  }
  return %last
}"""


def seen_at(world: Any, engine: str) -> list[tuple[str, float]]:
    """Of each request, when the engine gets it: its op and what is left of its query."""
    executes = world.runtime.scheduler(engine, world.specs[engine]).engine
    seen: list[tuple[str, float]] = []
    execute = executes.execute

    async def spy(requests: list[Request]) -> Any:
        for request in requests:
            assert request.place is not None
            left = request.place.left
            assert left is not None
            seen.append((request.op, left.work_s))
        return await execute(requests)

    executes.execute = spy
    return seen


def lefts(world: Any, engine: str, *runs: Any) -> list[float]:
    seen = seen_at(world, engine)
    for run in runs:
        run_virtual(run())
    return [left for _, left in seen]


def test_a_map_counts_the_items_that_it_turns_out_to_have(world: Worlds) -> None:
    """Each primitive counts a second; the plan expects one item."""
    w = world(embedder={"latency_s": 1.0, "max_batch_items": 1})
    items = [f"{i}" for i in range(4)]
    found = lefts(w, "embedder", lambda: w.run(MAP, {"xs": items}, {"f": str}))
    assert found == [5.0, 4.0, 3.0, 2.0]


def test_a_map_of_fewer_items_than_expected_counts_these_from_its_start(world: Worlds) -> None:
    class Known(UnitCost):
        def num_turns(self, node: Node) -> float:
            return 20.0

    w = world(embedder={"latency_s": 1.0, "max_batch_items": 1})
    run = lambda: w.run(MAP, {"xs": ["a", "b"]}, {"f": str}, cost=Known())  # noqa: E731
    assert lefts(w, "embedder", run) == [3.0, 2.0]


def test_items_that_never_came_are_taken_off(world: Worlds) -> None:
    w = world(tools={"latency_s": 1.0})
    found = lefts(w, "tools", lambda: w.run(MAP, {"xs": []}, {"f": str}))
    assert found == [1.0]


@pytest.mark.parametrize("num_turns", [1, 3])
def test_each_turn_of_a_loop_adds_its_work(world: Worlds, num_turns: int) -> None:
    w = world(tools={"latency_s": 1.0})
    symbols = {"f": lambda s: s + "x", "more": lambda s: len(s) <= num_turns}
    found = lefts(w, "tools", lambda: w.run(LOOP, {"x": "x"}, symbols))
    assert found[:2] == [2.0, 1.0]
    assert max(found[2:], default=2.0) == 2.0
