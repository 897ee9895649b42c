"""The upper tier: runs one query's graph, primitive by primitive, without any barrier.

A primitive goes to its engine's scheduler the moment its last input is there; one that reads a
stream, item by item. Everything happens in callbacks on one event loop, so the state needs no lock
and an engine's answer leads to the next dispatch within the same turn of the loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from backends.base import Outcome, Request, Result
from graph_opt.analysis.begin import reads_streams
from graph_opt.graph import Node
from graph_opt.ops import OPS
from runtime.clock import now
from runtime.dispatch import make_request
from runtime.engine_scheduler import Job, Scheduler, Started
from runtime.errors import ListenerFailed, NodeFailed, OutputInvalid, ParseError, QueryError
from runtime.events import Event, EventKind, Listener
from runtime.layout import Layout
from runtime.ops.table import OP_RUNS
from runtime.outputs import Outputs
from runtime.piecewise import run_in_pieces
from runtime.scope import Scope, arg_value, bind, release

LOAD_SHOWN_FROM_S = 0.001
BULK_PRIORITY = -1  # inside an engine that orders what it runs: after all that somebody waits for


class Query:
    """One invocation of an app. `result` is set once; `fail` ends it early."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        inputs: Mapping[str, Any],
        engines: Mapping[str, Scheduler],
        symbols: Mapping[str, Any],
        listener: Listener | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        self.name = name
        self._outputs = outputs
        self.symbols = symbols
        self.result: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._layout = layout
        self._inputs = inputs
        self._engines = engines
        self._listener = listener
        self._ready: deque[tuple[Scope, Node]] = deque()
        self._jobs: dict[str, tuple[Scheduler, Job]] = {}  # by request id
        self._scopes: set[Scope] = set()
        self._is_draining = False

    def start(self, about: Mapping[str, Any]) -> None:
        """Dispatch everything that is ready. `about` goes into the query's first event."""
        self._tell("query", fields=about)
        self.open_scope(self._layout, bind(self._layout, self._inputs), "", self._succeed)
        self.drain()

    def fail(self, error: QueryError) -> None:
        """End the query now: stop its requests, free its values, give `error` to the caller."""
        if self.result.done():
            return
        self.result.set_exception(error)
        self._ready.clear()
        for scheduler, job in self._jobs.values():
            scheduler.cancel(job)
        self._jobs.clear()
        for scope in self._scopes:
            scope.release_all()
        self._scopes.clear()
        self._tell("done", fields={"status": type(error).__name__, "error": str(error)})

    def _succeed(self, results: list[Any]) -> None:
        if not self.result.done():
            self.result.set_result(results)
            self._tell("done", fields={"status": "ok"})

    # The walk through the graph

    def open_scope(
        self,
        layout: Layout,
        params: Sequence[Any],
        path: str,
        on_done: Callable[[list[Any]], None],
    ) -> None:
        if self.result.done():
            return
        scope = Scope(layout, params, path, on_done)
        self._scopes.add(scope)
        self._ready.extend((scope, node) for node in scope.ready_at_start())
        for param, late in scope.missing.items():
            late.when_there(lambda name=param: self._param_came(scope, name))  # type: ignore[misc]
        if not layout.nodes:
            self._close(scope)

    def _param_came(self, scope: Scope, name: str) -> None:
        self._ready.extend((scope, node) for node in scope.param_came(name))

    def finish(self, scope: Scope, node: Node, outputs: Sequence[Any]) -> None:
        if self.result.done():
            return
        if self._outputs is not None and not scope.path:
            for name, value in zip(node.outputs, outputs, strict=True):
                if name in scope.layout.graph.outputs:
                    scope.give(name)
                    self._outputs.on_value(name, value)
        awaited = scope.awaited(node, outputs)
        self._ready.extend((scope, follower) for follower in scope.finish(node, outputs))
        if not scope.num_unfinished:
            self._close(scope)
        for late, value in awaited:  # by a node that is unfinished, so the scope is still open
            late.arrive(value)

    def drain(self) -> None:
        if self._is_draining:
            return
        self._is_draining = True
        while self._ready:  # nothing below raises: see _guard and _tell
            scope, node = self._ready.popleft()
            self._guard(scope, node, lambda s=scope, n=node: self._begin(s, n))  # type: ignore[misc]
        self._is_draining = False

    def _close(self, scope: Scope) -> None:
        self._scopes.discard(scope)
        scope.on_done(scope.results())

    def _begin(self, scope: Scope, node: Node) -> None:
        self._ready.extend((scope, early) for early in scope.begin(node))
        op = OP_RUNS[node.op]
        if op.begin is not None:
            op.begin(self, scope, node)
        elif reads_streams(node):
            (op.begin_streamed or run_in_pieces)(self, scope, node)
        elif op.run is not None:
            args = [arg_value(arg, scope.values) for arg in node.args]
            self.finish(scope, node, (op.run(node, args, self.symbols),))
        else:
            self._submit_whole(scope, node)

    def _guard(self, scope: Scope, node: Node, work: Callable[[], None]) -> None:
        """Whatever goes wrong in a node's own work is the outcome of this query, of no other."""
        try:
            work()
        except Exception as error:
            self.fail_at(scope, node, error)

    # Requests to engines

    def piece_size(self, node: Node) -> int:
        return self._engines[str(node.attrs["engine"])].batch_items

    def submit_piece(
        self,
        scope: Scope,
        node: Node,
        suffix: str,
        values: Mapping[str, Any],
        without: Collection[str],
        on_result: Callable[[Result], None],
    ) -> None:
        request = make_request(node, {**scope.values, **values}, self.symbols, without=without)
        self._submit(scope, node, scope.path + node.name + suffix, request, on_result)

    def _submit_whole(self, scope: Scope, node: Node) -> None:
        emit = self._emitter(scope, node) if OPS[node.op].writes_text else None
        request = make_request(node, scope.values, self.symbols, emit)

        def on_result(result: Result) -> None:
            if result.finish_reason == "length" and "schema" in node.attrs:
                raise ParseError(
                    f"the model wrote {node.attrs.get('max_tokens')} tokens (max_tokens) and its "
                    "value was not complete: raise max_tokens, or bound the type, for example "
                    f"with Field(max_length=...); it wrote {result.outputs[0][:200]!r}"
                )
            if result.finish_reason is not None:
                scope.finish_reasons[node.name] = result.finish_reason
            growing = scope.growing_text(node)
            self.finish(scope, node, result.outputs)
            if growing is not None:
                growing.close(result.outputs[0])

        self._submit(scope, node, scope.path + node.name, request, on_result)

    def _submit(
        self,
        scope: Scope,
        node: Node,
        path: str,
        request: Request,
        on_result: Callable[[Result], None],
    ) -> None:
        scheduler = self._engines[str(node.attrs["engine"])]
        hint = scope.layout.hints[node.name]
        request.priority = BULK_PRIORITY if hint.kind == "throughput" else 0
        job = Job(
            request=request,
            query=self.name,
            hint=hint,
            on_start=lambda started: self._on_start(path, node.op, started),
            on_done=lambda out: self._on_done(scope, node, path, request.id, out, on_result),
            may_remember=node.name in scope.layout.remembered,
        )
        self._jobs[request.id] = (scheduler, job)
        self._tell("ready", path, node.op, {"engine": scheduler.name, "items": request.num_items})
        scheduler.submit(job)

    def _on_start(self, path: str, op: str, started: Started) -> None:
        if self.result.done():
            return
        fields: dict[str, Any] = {
            "engine": started.engine,
            "batch": started.batch,
            "batch_size": started.batch_size,
        }
        if started.load_s > LOAD_SHOWN_FROM_S:
            fields["load_s"] = round(started.load_s, 3)
        self._tell("start", path, op, fields)

    def _on_done(
        self,
        scope: Scope,
        node: Node,
        path: str,
        request_id: str,
        outcome: Outcome,
        on_result: Callable[[Result], None],
    ) -> None:
        if self._jobs.pop(request_id, None) is None:  # the query ended while this ran
            if isinstance(outcome, Result):
                for value in outcome.outputs:
                    release(value)
        elif isinstance(outcome, Exception):
            self.fail_at(scope, node, outcome)
        else:
            self._tell_end(path, node.op, outcome)
            self._guard(scope, node, lambda: on_result(outcome))
            self.drain()

    def fail_at(self, scope: Scope, node: Node, error: Exception) -> None:
        if self.result.done():
            return
        path = scope.path + node.name
        where = f"{node.origin.file}:{node.origin.line}" if node.origin else ""
        self._tell("error", path, node.op, {"error": f"{type(error).__name__}: {error}"})
        failure = NodeFailed(path, where, error)
        if isinstance(error, ParseError):
            if scope.finish_reasons.get(node.inputs[0]) == "length":
                error = ParseError(
                    f"{error}; it ran into max_tokens before the end: raise max_tokens, or bound "
                    "the type with Field(max_length=...)"
                )
            failure = OutputInvalid(path, where, error)
        failure.__cause__ = error
        self.fail(failure)

    # What is told

    def _emitter(self, scope: Scope, node: Node) -> Callable[[str], None]:
        path = scope.path + node.name
        is_output = not scope.path and node.name in scope.layout.graph.outputs
        is_final = is_output and (self._outputs is None or node.name in self._outputs.final)
        on_text = self._outputs.on_text if self._outputs is not None and is_output else None
        growing = scope.growing_text(node)
        is_first = True

        def emit(text: str) -> None:
            nonlocal is_first
            if self.result.done():
                return
            if is_first:
                is_first = False
                self._tell("first_token", path, node.op)
            self._tell("text", path, node.op, {"text": text, "final": is_final})
            if on_text is not None:
                on_text(node.name, text)
            if growing is not None:
                self._guard(scope, node, lambda: growing.grow(text))

        return emit

    def _tell_end(self, path: str, op: str, result: Result) -> None:
        usage = result.usage
        fields: dict[str, Any] = {
            "prefill_tokens": usage.prefill_tokens,
            "cached_tokens": usage.cached_tokens,
            "decode_tokens": usage.decode_tokens,
            "num_items": usage.num_items,
        }
        if usage.remembered_items:
            fields["remembered_items"] = usage.remembered_items
        if result.finish_reason is not None:
            fields["finish_reason"] = result.finish_reason
        self._tell("end", path, op, fields)

    def _tell(
        self, kind: EventKind, node: str = "", op: str = "", fields: Mapping[str, Any] | None = None
    ) -> None:
        if self._listener is None:
            return
        try:
            self._listener(Event(now(), kind, self.name, node, op, fields or {}))
        except Exception as error:  # the outcome of this query: nobody hears how it goes on
            self._listener = None
            failure = ListenerFailed(f"a listener to query {self.name} failed: {error!r}")
            failure.__cause__ = error
            asyncio.get_running_loop().call_soon(self.fail, failure)
