"""A query of one second, told event by event, and how to draw things of it."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from runtime.events import Event
from teola.viewer.model import Trace, TraceBuilder

GRAPH = """
graph demo {
  %question = input [type="str"]
  %c0 = context [engine="llm"]
  %expand.prompt = prefill %c0 "Queries for" %question [engine="llm"]
  %expand, %expand.context = decode %expand.prompt [engine="llm"]
  %queries = parse %expand [type="Queries"]
  %hits = map %queries {
    %q = input [type="str"]
    %vector = embed %q [engine="embedder"]
    %search = search null %q %vector [engine="store"]
    return %search
  }
  %answer.prompt = prefill %c0 "Answer" %hits [engine="llm"]
  %answer, %answer.context = decode %answer.prompt [engine="llm"]
  return %answer
}
"""
ORIGINS = {
    "expand.prompt": ["expand", "app.py", 7],
    "expand": ["expand", "app.py", 7],
    "hits": ["map", "app.py", 8],
    "hits[].vector": ["map/search", "app.py", 8],
    "hits[].search": ["map/search", "app.py", 8],
    "answer.prompt": ["answer", "app.py", 9],
    "answer": ["answer", "app.py", 9],
}
ABOUT = {
    "app": "demo",
    "optimized": True,
    "began": "2026-01-02T03:04:05.000+00:00",
    "graph": GRAPH,
    "origins": ORIGINS,
}
_T0 = 100.0


def at(t: float, kind: Any, node: str = "", op: str = "", **fields: Any) -> Event:
    return Event(_T0 + t, kind, "q1", node, op, fields)


def ran(
    node: str, op: str, engine: str, times: tuple[float, float, float], batch: int, **usage: int
) -> list[Event]:
    """A primitive ready, started and ended at these times; `batch_size` and counts by name."""
    ready, start, end = times
    size = usage.pop("batch_size", 1)
    return [
        at(ready, "ready", node, op, engine=engine, items=1),
        at(start, "start", node, op, engine=engine, batch=batch, batch_size=size),
        at(end, "end", node, op, **usage),
    ]


EVENTS = sorted(
    [
        at(0, "query", **ABOUT),
        *ran("expand.prompt", "prefill", "llm", (0.01, 0.02, 0.1), 0, prefill_tokens=40),
        *ran("expand", "decode", "llm", (0.1, 0.1, 0.4), 1, decode_tokens=12),
        *ran("hits[0].vector", "embed", "embedder", (0.41, 0.42, 0.5), 0, batch_size=2),
        *ran("hits[1].vector", "embed", "embedder", (0.41, 0.42, 0.5), 0, batch_size=2),
        *ran("hits[0].search", "search", "store", (0.5, 0.5, 0.52), 0, num_items=1),
        *ran("hits[1].search", "search", "store", (0.5, 0.6, 0.62), 1, num_items=1),
        *ran(
            "answer.prompt",
            "prefill",
            "llm",
            (0.62, 0.65, 0.7),
            2,
            prefill_tokens=100,
            cached_tokens=60,
        ),
        *ran("answer", "decode", "llm", (0.7, 0.7, 0.98), 3, decode_tokens=30),
        at(0.72, "first_token", "answer", "decode"),
        at(1.0, "done", status="ok"),
    ],
    key=lambda event: event.t,
)


def trace_of(events: list[Event]) -> Trace:
    builder = TraceBuilder()
    for event in events:
        builder(event)
    return builder.trace()


def demo() -> Trace:
    return trace_of(EVENTS)


def lines_of(events: list[Event]) -> list[str]:
    """The events as they stand in a trace file."""
    return [
        json.dumps(
            {"t": e.t, "kind": e.kind, "query": e.query, "node": e.node, "op": e.op, **e.fields}
        )
        for e in events
    ]


def write(path: Path, events: list[Event]) -> Path:
    path.write_text("\n".join(lines_of(events)) + "\n", encoding="utf-8")
    return path


def drawn(thing: RenderableType, width: int = 100) -> str:
    """What a plain terminal of this width shows, without blanks at line ends."""
    console = Console(width=width, color_system=None, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(thing)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
