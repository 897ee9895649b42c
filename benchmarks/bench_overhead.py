"""What teola itself costs: tracing and passes of an app, and scheduling a node on fake engines.

    python benchmarks/bench_overhead.py [--repeats 7]

Beside each figure, interleaved in the same run, the cost of a bare asyncio task. Last line: one
JSON object: us_per_node_chain, us_per_node_map (one batch takes all items), us_per_node_map1 and
us_per_node_map1_10k (1,000 and 10,000 items, batches of one, SLOTS at once), the bare tasks of each
run, max_hold_ms (the longest time the loop was held during the last), compile_cold_ms and
compile_cached_ms.
"""

import argparse
import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import teola as tl
from backends.registry import EngineSpec
from graph_opt.graph import Graph, Node, Ref
from runtime.layout import Layout, layout_of
from runtime.service import Runtime
from teola.runner import default_runner

CHAIN_LEN = 1000
MAP_WIDTH = 1000
WIDE_MAP_WIDTH = 10_000
SLOTS = 64
TICK_S = 0.0005

llm = tl.LLM("fake:")
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))
reranker = tl.Reranker("fake:")


@tl.prompt(llm)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"Answer from these passages only.\n{tl.join(docs)}\nQuestion: {question}"


def sixty_nodes(question: str) -> str:
    """Nine rounds of search, rerank and answer: about 60 primitives and inline nodes."""
    text = question
    for _ in range(9):
        docs = reranker(text, store.search(text, k=8), k=3)
        text = answer(text, docs)
    return text


def chain_graph() -> Graph:
    """CHAIN_LEN calls, each of the value before."""
    nodes = [Node(("x",), "input", attrs={"type": "int"})]
    attrs = {"engine": "python", "fn": "step"}
    for i in range(CHAIN_LEN):
        nodes.append(Node((f"x{i}",), "call", (Ref(nodes[-1].name),), attrs))
    return Graph("chain", tuple(nodes), (nodes[-1].name,))


def map_graph() -> Graph:
    """A map of one call an item."""
    body = Graph(
        "body",
        (
            Node(("item",), "input", attrs={"type": "int"}),
            Node(("y",), "call", (Ref("item"),), {"engine": "python", "fn": "step", "pure": True}),
        ),
        ("y",),
    )
    nodes = (
        Node(("x",), "input", attrs={"type": "list[int]"}),
        Node(("m",), "map", (Ref("x"),), bodies=(body,)),
    )
    return Graph("map", nodes, ("m",))


WHOLE = {"max_batch_items": MAP_WIDTH}
SINGLE = {"max_batch_items": 1, "num_slots": SLOTS}


async def run_graph_s(layout: Layout, value: Any, options: Mapping[str, Any] = WHOLE) -> float:
    """Seconds of one run on fake engines without latency, engines there already."""
    runtime = Runtime()
    engines = {"python": EngineSpec("python", "fake:", options)}
    symbols = {"step": lambda x: x}
    await runtime.run(layout_of(map_graph()), {"x": [1]}, engines, symbols)
    began = time.perf_counter()
    await runtime.run(layout, {"x": value}, engines, symbols)
    return time.perf_counter() - began


class Ticker:
    """Asks the loop for a turn every TICK_S; `max_hold_s` is the longest it had to wait for one."""

    def __init__(self) -> None:
        self.max_hold_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time() + TICK_S
        self._timer = self._loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        now_s = self._loop.time()
        self.max_hold_s = max(self.max_hold_s, now_s - self._due_s)
        self._due_s = now_s + TICK_S
        self._timer = self._loop.call_at(self._due_s, self._tick)

    def stop(self) -> None:
        self._timer.cancel()


async def max_hold_s(layout: Layout, value: Any) -> float:
    """How long the loop was held at most while a map ran."""
    ticker = Ticker()
    await run_graph_s(layout, value, SINGLE)
    ticker.stop()
    return ticker.max_hold_s


async def bare_tasks_s(count: int, in_turn: bool) -> float:
    """Seconds for as many bare asyncio tasks, one after another or at once."""

    async def step() -> None:
        await asyncio.sleep(0)

    began = time.perf_counter()
    if in_turn:
        for _ in range(count):
            await asyncio.create_task(step())
    else:
        await asyncio.gather(*(asyncio.create_task(step()) for _ in range(count)))
    return time.perf_counter() - began


def compile_ms(is_cached: bool, app: Any) -> float:
    """Milliseconds to trace an app and run all passes; cached: the second time."""
    runner = default_runner()
    if not is_cached:
        app = tl.app(sixty_nodes)
    began = time.perf_counter()
    program = app._program_for((), {})
    runner._plans.ready(program, app.options)
    return (time.perf_counter() - began) * 1e3


def medians(measures: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median of each, one of each in turn."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            values[name].append(measure())
    return {name: statistics.median(found) for name, found in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    chain, wide = layout_of(chain_graph()), layout_of(map_graph())
    items_10k = list(range(WIDE_MAP_WIDTH))
    gc.collect()
    gc.freeze()  # what imports made stays: the collector's passes see what runs make
    app = tl.app(sixty_nodes)
    found = medians(
        {
            "chain_s": lambda: asyncio.run(run_graph_s(chain, 1)),
            "bare_chain_s": lambda: asyncio.run(bare_tasks_s(CHAIN_LEN, in_turn=True)),
            "map_s": lambda: asyncio.run(run_graph_s(wide, list(range(MAP_WIDTH)))),
            "bare_map_s": lambda: asyncio.run(bare_tasks_s(MAP_WIDTH, in_turn=False)),
            "map1_s": lambda: asyncio.run(run_graph_s(wide, list(range(MAP_WIDTH)), SINGLE)),
            "bare_map1_s": lambda: asyncio.run(bare_tasks_s(MAP_WIDTH, in_turn=False)),
            "map1_10k_s": lambda: asyncio.run(run_graph_s(wide, items_10k, SINGLE)),
            "bare_map1_10k_s": lambda: asyncio.run(bare_tasks_s(WIDE_MAP_WIDTH, in_turn=False)),
            "max_hold_s": lambda: asyncio.run(max_hold_s(wide, items_10k)),
            "compile_cold_ms": lambda: compile_ms(False, app),
            "compile_cached_ms": lambda: compile_ms(True, app),
        },
        repeats,
    )
    result = {
        "us_per_node_chain": round(found["chain_s"] / CHAIN_LEN * 1e6, 1),
        "us_per_node_map": round(found["map_s"] / MAP_WIDTH * 1e6, 1),
        "us_per_node_map1": round(found["map1_s"] / MAP_WIDTH * 1e6, 1),
        "us_per_node_map1_10k": round(found["map1_10k_s"] / WIDE_MAP_WIDTH * 1e6, 1),
        "us_per_bare_task_chain": round(found["bare_chain_s"] / CHAIN_LEN * 1e6, 1),
        "us_per_bare_task_map": round(found["bare_map_s"] / MAP_WIDTH * 1e6, 1),
        "us_per_bare_task_map1": round(found["bare_map1_s"] / MAP_WIDTH * 1e6, 1),
        "us_per_bare_task_map1_10k": round(found["bare_map1_10k_s"] / WIDE_MAP_WIDTH * 1e6, 1),
        "max_hold_ms": round(found["max_hold_s"] * 1e3, 2),
        "compile_cold_ms": round(found["compile_cold_ms"], 2),
        "compile_cached_ms": round(found["compile_cached_ms"], 3),
        "nodes": len(app.graph().nodes),
    }
    for name, value in result.items():
        print(f"{name:24} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
