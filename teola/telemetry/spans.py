"""The events of a run as spans: one for the run, one for each primitive, links where values flow.

    invoke_workflow rag
    ├── embeddings all-minilm-l6-v2
    ├── prefill smollm2-135m
    └── chat smollm2-135m              links: the two above

A span begins when its primitive is ready, so that what the primitive sends can name it. It is
handed on when its query ends: only then is it known which spans it waited for.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from threading import RLock
from typing import Any, TypeVar, cast

from opentelemetry.context import Context
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from backends.base import Request, Result
from runtime.events import Event
from teola.engine_facts import EngineFacts
from teola.telemetry.content import Contents
from teola.telemetry.counts import end_attributes
from teola.telemetry.measures import Measures
from teola.telemetry.shape import Attributes, Shape, graph_of, shape_of
from teola.viewer.dependencies import dependencies
from teola.viewer.model import without_indices

_LOG = logging.getLogger("teola.telemetry")

Epoch = Callable[[Event], float]  # the clock of the events at 0, in seconds since 1970

_EDGE = {"teola.edge": "dataflow"}
_CANCELLED = "cancelled"


@dataclass(slots=True)
class _Root:
    """A query, or a run of several: the segments of an `async def` app."""

    span: Span
    context: Context  # of its primitives
    epoch_s: float
    is_inner: bool  # of an app inside another query
    last_s: float = 0.0
    status: str = ""  # none: it never ended
    error: str = ""


@dataclass(slots=True)
class _Primitive:
    span: Span
    shape: Shape
    kind: str  # of its engine
    ready_s: float
    start_s: float | None = None
    end_s: float | None = None
    error: str | None = None
    more: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class _Query:
    root: _Root
    is_segment: bool
    within: str
    graph: str
    origins: Mapping[str, Any]
    engines: Mapping[str, EngineFacts]
    primitives: dict[str, _Primitive] = field(default_factory=dict)  # by path


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _harmless(method: _Method) -> _Method:
    """What goes wrong with spans fails no run: they end there, with a warning in the log."""

    @wraps(method)
    def guarded(self: "Spans", *args: Any, **kwargs: Any) -> Any:
        if self.is_broken:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.is_broken = True
            _LOG.warning("the spans of this run end here: %r", error, exc_info=error)
            return None

    return cast(_Method, guarded)


class Spans:
    """Listens to the events of a run, live or from a file; `close` it at their end."""

    def __init__(
        self,
        tracer: Tracer,
        parent: Context | None,
        epoch: Epoch,
        contents: Contents | None = None,
        measures: Measures | None = None,
    ) -> None:
        """`parent` has the caller's span; without `contents` no span holds any."""
        self._tracer = tracer
        self._parent = parent
        self._epoch = epoch
        self._contents = contents
        self._measures = measures
        self._queries: dict[str, _Query] = {}  # those under way
        self._roots: list[_Root] = []  # of the outermost queries, and of runs
        self._runs: dict[str, _Root] = {}
        self._places: dict[str, tuple[Span, _Query]] = {}  # of primitives: `q3.hits[2].search`
        self._asked: dict[str, Span] = {}  # of primitives, by the trace context they were given
        self.is_broken = False
        self._lock = RLock()  # sessions end on another thread than their queries

    @property
    def has_content(self) -> bool:
        """Whether to `record`."""
        return self._contents is not None

    @_harmless
    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.kind == "query":
                self._begin(event)
            elif event.kind != "text" and (query := self._queries.get(event.query)) is not None:
                self._take(query, event)

    def traceparent(self, place: str) -> str:
        """The trace context of a primitive that is ready."""
        found = self._places.get(place)
        if found is None or not (context := found[0].get_span_context()).is_valid:
            return ""
        ids = f"{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
        traceparent = f"00-{ids}-{context.trace_flags:02x}"
        if self._contents is not None:
            self._asked[traceparent] = found[0]
        return traceparent

    @_harmless
    def record(self, request: Request, result: Result) -> None:
        """Note what a request said and what came back."""
        with self._lock:
            span = self._asked.get(request.traceparent)
            if self._contents is not None and span is not None and span.is_recording():
                span.set_attributes(self._contents.of(request, result))

    @_harmless
    def close(self, inputs: Any = None, result: Any = None) -> None:
        """End all that is open. The outermost spans hold what went in and came out, where content
        is wanted."""
        with self._lock:
            for name in [*self._queries]:
                self._finish(name)
            for root in self._roots:
                if self._contents is not None and not root.is_inner:
                    root.span.set_attributes(self._contents.of_run(inputs, result))
                self._end(root)
            self._roots.clear()
            self._runs.clear()
            self._places.clear()
            self._asked.clear()

    # Events

    def _begin(self, event: Event) -> None:
        fields = event.fields
        self._finish(event.query)  # of another process, whose file this one appended to
        within, run = str(fields.get("within", "")), str(fields.get("run", ""))
        root = self._runs.get(run) or self._root(event, within)
        if run:
            self._runs[run] = root
        elif root.is_inner:
            self._roots.remove(root)
        root.last_s = event.t
        self._queries[event.query] = _Query(
            root,
            bool(run),
            within,
            str(fields.get("graph", "")),
            fields.get("origins", {}),
            fields.get("engines", {}),
        )

    def _root(self, event: Event, within: str) -> _Root:
        around = self._places.get(within)
        if around is None:
            parent, epoch_s = self._parent, self._epoch(event)
        else:
            parent, epoch_s = set_span_in_context(around[0]), around[1].root.epoch_s
        name, attributes = _about_run(event)
        span = self._tracer.start_span(
            name, parent, attributes=attributes, start_time=_ns(event.t + epoch_s)
        )
        root = _Root(span, set_span_in_context(span), epoch_s, around is not None)
        self._roots.append(root)
        return root

    def _take(self, query: _Query, event: Event) -> None:
        query.root.last_s = max(query.root.last_s, event.t)
        if event.kind == "done":
            query.root.status = str(event.fields.get("status", "?"))
            query.root.error = str(event.fields.get("error", ""))
            self._finish(event.query)
        elif event.kind == "ready":
            self._ready(query, event)
        elif (primitive := query.primitives.get(event.node)) is not None:
            _advance(primitive, event, query.root.epoch_s)

    def _ready(self, query: _Query, event: Event) -> None:
        engine = str(event.fields.get("engine", ""))
        facts = query.engines.get(engine, {})
        path = without_indices(event.node)
        shape = shape_of(event.op, engine, facts, query.graph, path)
        span = self._tracer.start_span(
            shape.name,
            query.root.context,
            SpanKind.CLIENT if shape.is_remote else SpanKind.INTERNAL,
            {**shape.attributes, **_code(query.origins.get(path)), "teola.node": event.node},
            start_time=_ns(event.t + query.root.epoch_s),
        )
        kind = facts.get("kind", "")
        query.primitives[event.node] = _Primitive(span, shape, kind, event.t)
        self._places[f"{event.query}.{event.node}"] = span, query

    # Ends

    def _finish(self, name: str) -> None:
        query = self._queries.pop(name, None)
        if query is None:
            return
        inside = [n for n, q in self._queries.items() if q.within.startswith(f"{name}.")]
        for each in inside:
            self._finish(each)
        self._link(query)
        for primitive in query.primitives.values():
            self._end_primitive(query, primitive)
        if query.root.is_inner and not query.is_segment:
            self._end(query.root)

    def _link(self, query: _Query) -> None:
        graph = graph_of(query.graph)
        if graph is None:
            return
        primitives = query.primitives
        for path, before in dependencies(graph, primitives).items():
            for other in before:
                context = primitives[other].span.get_span_context()
                primitives[path].span.add_link(context, _EDGE)

    def _end_primitive(self, query: _Query, primitive: _Primitive) -> None:
        root, span, more = query.root, primitive.span, primitive.more
        end_s = root.last_s if primitive.end_s is None else primitive.end_s
        error = primitive.error
        if primitive.end_s is None:
            more["teola.stopped"] = True
            error = None if root.status == "ok" else _CANCELLED
        if error is not None:
            more["error.type"] = error.partition(":")[0]
            self._set_error(span, error)
        if primitive.start_s is not None:
            more["teola.queue_s"] = primitive.start_s - primitive.ready_s
        span.set_attributes(more)
        span.end(_ns(end_s + root.epoch_s))
        if self._measures is not None:
            about = {**primitive.shape.attributes, **more}
            self._measures.note(primitive.kind, about, end_s - primitive.ready_s)

    def _end(self, root: _Root) -> None:
        status = root.status or _CANCELLED
        if status != "ok":
            root.span.set_attribute("error.type", status)
            self._set_error(root.span, f"{status}: {root.error}" if root.error else status)
        root.span.end(_ns(root.last_s + root.epoch_s))

    def _set_error(self, span: Span, error: str) -> None:
        """Messages quote what models wrote and users asked."""
        said = error if self._contents is not None else error.partition(":")[0]
        span.set_status(Status(StatusCode.ERROR, said))


def _about_run(event: Event) -> tuple[str, Attributes]:
    app, is_agent = str(event.fields.get("app", "")), bool(event.fields.get("agent"))
    operation = "invoke_agent" if is_agent else "invoke_workflow"
    name = "gen_ai.agent.name" if is_agent else "gen_ai.workflow.name"
    return f"{operation} {app}", {
        "gen_ai.operation.name": operation,
        name: app,
        "openinference.span.kind": "AGENT" if is_agent else "CHAIN",
        "teola.query": event.query,
        "teola.optimized": bool(event.fields.get("optimized", True)),
    }


def _code(origin: Any) -> Attributes:
    """The user's call and line."""
    if not origin:
        return {}
    call, file, line = origin
    return {"teola.call": str(call), "code.file.path": str(file), "code.line.number": int(line)}


def _advance(primitive: _Primitive, event: Event, epoch_s: float) -> None:
    fields = event.fields
    if event.kind == "start":
        primitive.start_s = event.t
        primitive.more["teola.batch"] = int(fields.get("batch", 0))
        primitive.more["teola.batch_size"] = int(fields.get("batch_size", 1))
        if "load_s" in fields:
            primitive.more["teola.load_s"] = float(fields["load_s"])
    elif event.kind == "first_token":
        primitive.more["gen_ai.response.time_to_first_chunk"] = event.t - primitive.ready_s
    elif event.kind == "end":
        primitive.end_s = event.t
        primitive.more |= end_attributes(primitive.kind, fields)
    elif event.kind == "error":
        primitive.end_s, primitive.error = event.t, str(fields.get("error", "?"))
    elif event.kind == "retry":
        kind = str(fields.get("error", "?")).partition(":")[0]
        primitive.span.add_event("retry", {"error.type": kind}, _ns(event.t + epoch_s))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
