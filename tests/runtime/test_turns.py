"""The loop is never held for long: wide maps open, begin and start some items in each turn."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from runtime.clock import run_virtual
from runtime.graph_scheduler import MAX_BEGUN, Query
from runtime.ops.map import MAP_WINDOW
from runtime.scope import Scope

Worlds = Callable[..., Any]

WIDE = """\
graph g {
  %xs = input [type="list[int]"]
  %m = map %xs {
    %x = input [type="int"]
    %y = call %x [engine="tools", fn="f"]
    return %y
  }
  return %m
}"""

INLINE = WIDE.replace('call %x [engine="tools", fn="f"]', "pack %x %x")


def most_in_a_turn(world: Any, text: str, count: int, seen: Callable[[], int]) -> int:
    """How much `seen` grew at most in one turn of the loop, while a map of `count` items ran."""
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            before = seen()
            await asyncio.sleep(0)
            most = max(most, seen() - before)

    async def main() -> None:
        watching = asyncio.create_task(watch())
        (result,) = await world.run(text, {"xs": list(range(count))}, {"f": lambda x: [x, x]})
        watching.cancel()
        assert result == [[i, i] for i in range(count)]

    run_virtual(main())
    return most


@pytest.mark.parametrize("text", [WIDE, INLINE])
def test_a_wide_map_begins_a_bounded_number_of_nodes_in_each_turn(
    world: Worlds, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    begun = 0
    begin = Query._begin

    def counted(query: Query, scope: Scope, node: Any) -> None:
        nonlocal begun
        begun += 1
        begin(query, scope, node)

    monkeypatch.setattr(Query, "_begin", counted)
    w = world(tools={"max_batch_items": 1, "num_slots": 1000})
    assert most_in_a_turn(w, text, 2000, lambda: begun) <= MAX_BEGUN
    assert begun == 2002  # a body's input is bound when it opens


def test_a_map_opens_no_more_items_than_keep_its_engines_busy(
    world: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_items = most = 0
    open_body, close = Query.open_body, Query._close

    def opened(query: Query, *args: Any) -> None:
        nonlocal open_items, most
        open_items += 1
        most = max(most, open_items)
        open_body(query, *args)

    def closed(query: Query, scope: Scope) -> None:
        nonlocal open_items
        open_items -= scope.above is not None
        close(query, scope)

    monkeypatch.setattr(Query, "open_body", opened)
    monkeypatch.setattr(Query, "_close", closed)
    run = {"inputs": {"xs": list(range(1000))}, "symbols": {"f": lambda x: x}}
    small = world(tools={"max_batch_items": 1, "num_slots": 4})
    small.run_all(WIDE, **run)
    assert most == MAP_WINDOW
    most = 0
    large = world(tools={"latency_s": 1.0, "max_batch_items": 4, "num_slots": 100})
    large.run_all(WIDE, **run)
    assert most == 800


def test_other_queries_begin_while_a_wide_map_opens(world: Worlds) -> None:
    small = """\
    graph g {
      %v = embed "x" [engine="embedder"]
      return %v
    }"""
    w = world(tools={"max_batch_items": 1, "num_slots": 4000})
    turns = 0

    async def main() -> None:
        nonlocal turns
        run = w.run(WIDE, {"xs": list(range(4000))}, {"f": lambda x: x})
        wide = asyncio.create_task(run)
        await asyncio.sleep(0)
        short = asyncio.create_task(w.run(small))
        while not short.done():
            turns += 1
            await asyncio.sleep(0)
        assert not wide.done()
        await wide

    run_virtual(main())
    assert turns < 20
