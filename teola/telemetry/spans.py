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
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from backends.base import Request, Result
from runtime.events import Event
from teola.engine_facts import EngineFacts
from teola.telemetry.content import Contents
from teola.telemetry.measures import Measures
from teola.telemetry.primitive_span import CANCELLED, PrimitiveSpan, nanoseconds, set_error
from teola.telemetry.shape import Attributes, graph_of, shape_of
from teola.viewer.dependencies import dependencies
from teola.viewer.model import without_indices

_LOG = logging.getLogger("teola.telemetry")

Epoch = Callable[[Event], float]  # the clock of the events at 0, in seconds since 1970

_EDGE = {"teola.edge": "dataflow"}


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
class _Query:
    root: _Root
    is_segment: bool
    within: str
    graph: str
    origins: Mapping[str, Any]
    engines: Mapping[str, EngineFacts]
    primitives: dict[str, PrimitiveSpan] = field(default_factory=dict)  # by path


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
            name, parent, attributes=attributes, start_time=nanoseconds(event.t + epoch_s)
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
            primitive.take(event)

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
            start_time=nanoseconds(event.t + query.root.epoch_s),
        )
        kind = facts.get("kind", "")
        query.primitives[event.node] = PrimitiveSpan(span, shape, kind, query.root.epoch_s, event.t)
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
            root, is_said = query.root, self.has_content
            took_s = primitive.end(root.last_s, root.status, is_said=is_said)
            if self._measures is not None:
                self._measures.note(primitive.kind, primitive.attributes, took_s)
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

    def _end(self, root: _Root) -> None:
        status = root.status or CANCELLED
        if status != "ok":
            root.span.set_attribute("error.type", status)
            error = f"{status}: {root.error}" if root.error else status
            set_error(root.span, error, is_said=self.has_content)
        root.span.end(nanoseconds(root.last_s + root.epoch_s))


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
