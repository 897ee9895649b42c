"""What a primitive costs the runtime, in calls: times depend on the machine, calls do not."""

import sys
from typing import Any

from backends.registry import EngineSpec
from graph_opt.graph import Graph, Node, Ref
from runtime.clock import run_virtual
from runtime.layout import layout_of
from runtime.service import Runtime

NUM_ITEMS = 200
MOST_CALLS = 310  # of Python and C functions; 285 when this was written


def wide_map() -> Graph:
    call = {"engine": "python", "fn": "step", "pure": True}
    item = Node(("item",), "input", attrs={"type": "int"})
    body = Graph("body", (item, Node(("y",), "call", (Ref("item"),), call)), ("y",))
    x = Node(("x",), "input", attrs={"type": "list[int]"})
    return Graph("wide", (x, Node(("m",), "map", (Ref("x"),), bodies=(body,))), ("m",))


def test_an_item_of_a_map_in_batches_of_one_takes_few_calls() -> None:
    num_calls = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal num_calls
        num_calls += event in ("call", "c_call")

    async def main() -> None:
        runtime, layout = Runtime(), layout_of(wide_map())
        options = {"max_batch_items": 1, "num_slots": 8}
        engines = {"python": EngineSpec("python", "fake:", options)}
        symbols = {"step": lambda item: item}
        await runtime.run(layout, {"x": [1]}, engines, symbols)
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            await runtime.run(layout, {"x": list(range(NUM_ITEMS))}, engines, symbols)
        finally:
            sys.setprofile(before)
        await runtime.close()

    run_virtual(main())
    assert num_calls / NUM_ITEMS < MOST_CALLS
