"""Events of a query as spans, one for each primitive that an engine ran. Pure values, no drawing.

All times are seconds from the query's begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backends.base import FusionReport, Usage, total
from backends.fusion_reports import report_from
from backends.served import Served, served_from
from graph_opt.errors import GraphError
from graph_opt.paths import walk
from graph_opt.text import node_text, parse
from runtime.events import Event
from runtime.waiting.slot_past import Wait, wait_from
from teola.viewer.dependencies import dependencies

RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Retry:
    """A try that failed and was followed by another."""

    at_s: float
    error: str
    after_s: float  # the pause before the next try


@dataclass(frozen=True, slots=True)
class Span:
    """One primitive at an engine: it waits from `ready_s`, runs from `start_s` to `end_s`."""

    node: str  # path: "hits[2].search"
    op: str
    engine: str
    call: str  # the user's call, nested ones as "outer/inner"
    ready_s: float
    start_s: float | None = None  # None: it never left the queue
    first_token_s: float | None = None
    end_s: float | None = None  # None: it never ended
    items: int = 0
    usage: Usage = field(default_factory=Usage)
    fusion: FusionReport | None = None  # of a fused prompt
    endpoint: str = ""  # the one that answered, of an engine with several
    batch: int | None = None
    batch_size: int = 0  # requests in its batch, of all queries
    load_s: float = 0.0  # of its wait, for the engine to load
    policy: str = ""  # that ordered what waited
    num_waiting: int = 0  # requests that stayed behind when it started
    wait: Wait = field(default_factory=Wait)  # why it waited for its start
    served: Served | None = None  # how the steps of its engine served it
    deps: tuple[str, ...] = ()  # paths of the spans it waits for, inline primitives seen through
    at: str = field(default="", compare=False)  # its query and path, as `q3.hits[2].search`
    error: str = ""
    retries: tuple[Retry, ...] = ()
    finish_reason: str = ""  # of a decode; "length": it was cut
    text: str = ""  # what it wrote, in traces that keep texts
    line: str = ""  # of the graph's text: its inputs, as the plan has them

    @property
    def has_ended(self) -> bool:
        return self.end_s is not None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the plan expected before the run."""

    seconds: Mapping[str, float]  # of one run of a primitive, by its path in the plan
    path: tuple[str, ...]  # the critical path
    path_s: float
    work_s: float  # of all engines
    sources: Mapping[str, str]  # engine -> where its numbers come from
    device_s: Mapping[str, float] = field(default_factory=dict)  # how long each device is busy
    devices: Mapping[str, str] = field(default_factory=dict)  # engine -> its device
    bound_by: str = "critical path"  # or a device


@dataclass(frozen=True, slots=True)
class Trace:
    """One query: what it was, how it ended, and its spans in the order they became ready.

    Or a run of several, the segments of an `async def` app.
    """

    query: str  # of a run, its first
    app: str
    optimized: bool = True
    began: str = ""  # ISO 8601
    within: str = ""  # of an app inside another query: the place there, as `q3.answers[2].research`
    began_t: float = 0.0  # on the clock of the events
    run: str = ""  # of an `async def` app, the same for all its segments
    queries: tuple[str, ...] = ()  # of a run: all
    inside: tuple[Trace, ...] = ()  # the queries of apps that ran inside this one
    status: str = RUNNING  # then "ok" or the name of the error
    error: str = ""
    duration_s: float = 0.0
    spans: tuple[Span, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)  # call -> file:line
    warning: str = ""  # what is missing from the record
    expected: Expected | None = None  # what the plan said, in traces that have it

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Notebooks show the page of `teola trace`."""
        from teola.viewer.notebook_bundle import bundle

        return bundle(self)

    def start_of(self, span: Span) -> float:
        """When it began to run; for one that never did, when it stopped waiting."""
        return self.end_of(span) if span.start_s is None else span.start_s

    def end_of(self, span: Span) -> float:
        """When it ended; for one that did not, the end of the record."""
        return self.duration_s if span.end_s is None else span.end_s

    def queue_s(self, span: Span) -> float:
        return self.start_of(span) - span.ready_s

    def run_s(self, span: Span) -> float:
        return self.end_of(span) - self.start_of(span)

    def inside_of(self, span: Span) -> list[Trace]:
        """The queries of the app that a primitive is."""
        return [trace for trace in self.inside if trace.within == span.at]

    @property
    def load_s(self) -> float:
        """The longest that a primitive waited for its engine to load."""
        inside = (trace.load_s for trace in self.inside)
        return max((*(span.load_s for span in self.spans), *inside), default=0.0)

    @property
    def num_spans(self) -> int:
        """Primitives, with those of the apps inside it."""
        return len(self.spans) + sum(trace.num_spans for trace in self.inside)

    @property
    def num_batches(self) -> int:
        """Of engines, for its own primitives and those of the apps inside it."""
        return len(self._batches())

    def _batches(self) -> set[tuple[str, int]]:
        return _own_batches(self).union(*(trace._batches() for trace in self.inside))


def _own_batches(trace: Trace) -> set[tuple[str, int]]:
    return {(span.engine, span.batch) for span in trace.spans if span.batch is not None}


def total_usage(spans: Iterable[Span]) -> Usage:
    """The sum of what the spans cost."""
    return total(span.usage for span in spans)


def whole_usage(trace: Trace) -> Usage:
    """What a query cost, with the apps inside it."""
    return total([total_usage(trace.spans), *map(whole_usage, trace.inside)])


def without_indices(path: str) -> str:
    """The path as the plan knows it: `hits[2].search` is `hits[].search`, and so are its pieces."""
    return re.sub(r"\[[\d.]+\]", "[]", path.partition("#")[0])


class TraceBuilder:
    """Takes the events of one query, live or from a file, and gives the trace so far."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}  # by path
        self._texts: dict[str, list[str]] = {}  # by path, in pieces
        self._trace = Trace(query="", app="")
        self.began_t = 0.0  # on the clock of the events
        self._duration_s = 0.0
        self._graph_text = ""
        self._origins: Mapping[str, list[Any]] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "query":
            self._begin(event)
        at_s = max(0.0, event.t - self.began_t)
        self._duration_s = max(self._duration_s, at_s)
        if event.kind == "ready":
            self.spans[event.node] = self._ready(event, at_s)
        elif event.kind == "done":
            status, error = str(event.fields.get("status", "?")), str(event.fields.get("error", ""))
            self._trace = replace(self._trace, status=status, error=error)
        elif event.kind == "text":
            self._texts.setdefault(event.node, []).append(str(event.fields.get("text", "")))
        elif span := self.spans.get(event.node):
            self.spans[event.node] = _advance(span, event, at_s)

    @property
    def has_begun(self) -> bool:
        return bool(self._trace.query)

    def trace(self) -> Trace:
        """The query as far as it was told."""
        deps: Mapping[str, tuple[str, ...]] = {}
        lines: Mapping[str, str] = {}
        warning = ""
        try:
            graph = parse(self._graph_text)
            deps = dependencies(graph, self.spans)
            lines = {path: node_text(node) for path, node, _ in walk(graph)}
        except GraphError as error:
            warning = f"the graph of this trace cannot be read, so it has no critical path: {error}"
        spans = (
            replace(
                span,
                deps=deps.get(node, ()),
                text="".join(self._texts.get(node, ())),
                line=lines.get(without_indices(node), ""),
            )
            for node, span in self.spans.items()
        )
        places = {str(call): f"{file}:{line}" for call, file, line in self._origins.values()}
        return replace(
            self._trace,
            duration_s=self._duration_s,
            spans=tuple(spans),
            places=places,
            warning=warning,
        )

    def _begin(self, event: Event) -> None:
        fields = event.fields
        self.began_t = event.t
        self._graph_text = str(fields.get("graph", ""))
        self._origins = fields.get("origins", {})
        self._trace = Trace(
            query=event.query,
            app=str(fields.get("app", "")),
            optimized=bool(fields.get("optimized", True)),
            began=str(fields.get("began", "")),
            within=str(fields.get("within", "")),
            began_t=event.t,
            run=str(fields.get("run", "")),
            queries=(event.query,),
            expected=_expected(fields.get("plan")),
        )

    def _ready(self, event: Event, at_s: float) -> Span:
        origin = self._origins.get(without_indices(event.node))
        return Span(
            node=event.node,
            op=event.op,
            engine=str(event.fields.get("engine", "")),
            call=str(origin[0]) if origin else without_indices(event.node),
            ready_s=at_s,
            items=int(event.fields.get("items", 0)),
            at=f"{event.query}.{event.node}",
        )


def _advance(span: Span, event: Event, at_s: float) -> Span:
    fields = event.fields
    match event.kind:
        case "start":
            batch, size = int(fields.get("batch", 0)), int(fields.get("batch_size", 1))
            load_s = float(fields.get("load_s", 0.0))
            span = replace(span, start_s=at_s, batch=batch, batch_size=size, load_s=load_s)
            policy, left = str(fields.get("policy", "")), int(fields.get("waiting", 0))
            return replace(span, policy=policy, num_waiting=left, wait=wait_from(fields))
        case "first_token":
            return replace(span, first_token_s=at_s)
        case "end":
            endpoint = str(fields.get("endpoint", ""))
            usage, fusion = _usage(fields), report_from(fields.get("fusion"))
            why = str(fields.get("finish_reason", ""))
            done = replace(span, end_s=at_s, usage=usage, fusion=fusion, endpoint=endpoint)
            return replace(done, finish_reason=why, served=served_from(fields.get("served")))
        case "retry":
            retry = Retry(at_s, str(fields.get("error", "")), float(fields.get("after_s", 0.0)))
            return replace(span, retries=(*span.retries, retry))
        case "error":
            return replace(span, end_s=at_s, error=str(fields.get("error", "")))
    return span


def _expected(fields: Mapping[str, Any] | None) -> Expected | None:
    if fields is None:
        return None
    return Expected(
        seconds={str(path): float(value) for path, value in fields.get("seconds", {}).items()},
        path=tuple(map(str, fields.get("path", ()))),
        path_s=float(fields.get("path_s", 0.0)),
        work_s=float(fields.get("work_s", 0.0)),
        sources=dict(fields.get("sources", {})),
        device_s={str(name): float(busy) for name, busy in fields.get("device_s", {}).items()},
        devices=dict(fields.get("devices", {})),
        bound_by=str(fields.get("bound_by", "critical path")),
    )


def _usage(fields: Mapping[str, Any]) -> Usage:
    names = (
        "prefill_tokens",
        "cached_tokens",
        "decode_tokens",
        "num_items",
        "remembered_items",
        "fused_tokens",
        "wasted_tokens",
        "estimated_tokens",
    )
    counts = {name: int(fields.get(name, 0)) for name in names}
    return Usage(**counts, wasted_s=float(fields.get("wasted_s", 0.0)))
