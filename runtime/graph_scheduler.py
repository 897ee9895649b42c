"""The upper tier: runs one query's graph, primitive by primitive, without any barrier.

A primitive goes to its engine's scheduler the moment its last input is there. Everything happens
in callbacks on one event loop, so the state needs no lock and an engine's answer leads to the
next dispatch within the same turn of the loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backends.base import Outcome, Result
from graph_opt.graph import Node
from runtime.clock import now
from runtime.dispatch import arg_value, make_request
from runtime.engine_scheduler import EngineScheduler, Job, Started
from runtime.errors import NodeFailed, OutputInvalid, ParseError, QueryError
from runtime.events import Event, EventKind, Listener
from runtime.inline import run_inline
from runtime.layout import Layout
from runtime.scope import Scope, bind, release

LOAD_SHOWN_FROM_S = 0.001


class Query:
    """One invocation of an app. `result` is set once; `fail` ends it early."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        inputs: Mapping[str, Any],
        engines: Mapping[str, EngineScheduler],
        symbols: Mapping[str, Any],
        listener: Listener | None = None,
    ) -> None:
        self.name = name
        self.result: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._layout = layout
        self._inputs = inputs
        self._engines = engines
        self._symbols = symbols
        self._listener = listener
        self._ready: deque[tuple[Scope, Node]] = deque()
        self._jobs: dict[str, tuple[EngineScheduler, Job]] = {}  # by request id
        self._scopes: set[Scope] = set()
        self._is_draining = False

    def start(self, about: Mapping[str, Any]) -> None:
        """Dispatch everything that is ready. `about` goes into the query's first event."""
        self._tell("query", fields=about)
        self._open(self._layout, bind(self._layout, self._inputs), "", 0, self._succeed)
        self._drain()

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

    def _open(
        self,
        layout: Layout,
        params: Sequence[Any],
        path: str,
        depth: int,
        on_done: Callable[[list[Any]], None],
    ) -> None:
        scope = Scope(layout, params, path, depth, on_done)
        self._scopes.add(scope)
        self._ready.extend((scope, node) for node in scope.ready_at_start())
        if not layout.nodes:
            self._close(scope)

    def _close(self, scope: Scope) -> None:
        self._scopes.discard(scope)
        scope.on_done(scope.results())

    def _drain(self) -> None:
        if self._is_draining:
            return
        self._is_draining = True
        while self._ready:
            scope, node = self._ready.popleft()
            try:
                self._begin(scope, node)
            except Exception as error:  # the outcome of this query
                self._fail_at(scope, node, error)
        self._is_draining = False

    def _begin(self, scope: Scope, node: Node) -> None:
        if node.op == "input":
            self._finish(scope, node, (scope.param(node.name),))
        elif node.op == "map":
            self._expand(scope, node)
        elif "engine" in node.attrs and node.op != "context":
            self._submit(scope, node)
        else:
            args = [arg_value(arg, scope.values) for arg in node.args]
            self._finish(scope, node, run_inline(node, args, self._symbols))

    def _finish(self, scope: Scope, node: Node, outputs: Sequence[Any]) -> None:
        self._ready.extend((scope, follower) for follower in scope.finish(node, outputs))
        if not scope.num_unfinished:
            self._close(scope)

    def _expand(self, scope: Scope, node: Node) -> None:
        """Open one scope for each item: all at once, or each after the one before."""
        first, *captures = (arg_value(arg, scope.values) for arg in node.args)
        items = list(first)
        results: list[Any] = [None] * len(items)
        num_left = len(items)
        if not items:
            self._finish(scope, node, ([],))
            return

        def open_item(i: int) -> None:
            path = f"{scope.path}{node.name}[{i}]."
            depth = scope.depth + scope.layout.depth[node.name]
            params = [items[i], *captures]
            body = scope.layout.bodies[node.name]
            self._open(body, params, path, depth, lambda outputs: item_done(i, outputs))

        def item_done(i: int, outputs: list[Any]) -> None:
            nonlocal num_left
            results[i] = outputs[0]
            num_left -= 1
            if not num_left:
                self._finish(scope, node, (results,))
            elif is_sequential:
                open_item(i + 1)

        is_sequential = node.attrs.get("order") == "sequential"
        for i in range(1 if is_sequential else len(items)):
            open_item(i)

    def _submit(self, scope: Scope, node: Node) -> None:
        scheduler = self._engines[str(node.attrs["engine"])]
        path = scope.path + node.name
        emit = self._emitter(scope, node) if node.op == "decode" else None
        request = make_request(node, scope.values, self._symbols, emit)
        job = Job(
            request=request,
            query=self.name,
            depth=scope.depth + scope.layout.depth[node.name],
            on_start=lambda started: self._on_start(path, node.op, started),
            on_done=lambda outcome: self._on_done(scope, node, request.id, outcome),
        )
        self._jobs[request.id] = (scheduler, job)
        self._tell("ready", path, node.op, {"engine": scheduler.name, "items": request.num_items})
        scheduler.submit(job)

    def _on_start(self, path: str, op: str, started: Started) -> None:
        if not self.result.done():
            fields: dict[str, Any] = {
                "engine": started.engine,
                "batch": started.batch,
                "batch_size": started.batch_size,
            }
            if started.load_s > LOAD_SHOWN_FROM_S:
                fields["load_s"] = round(started.load_s, 3)
            self._tell("start", path, op, fields)

    def _on_done(self, scope: Scope, node: Node, request_id: str, outcome: Outcome) -> None:
        if self._jobs.pop(request_id, None) is None:  # the query ended while this ran
            if isinstance(outcome, Result):
                for value in outcome.outputs:
                    release(value)
            return
        if isinstance(outcome, Exception):
            self._fail_at(scope, node, outcome)
            return
        self._tell_end(scope.path + node.name, node.op, outcome)
        if outcome.finish_reason is not None:
            scope.finish_reasons[node.name] = outcome.finish_reason
        self._finish(scope, node, outcome.outputs)
        self._drain()

    def _fail_at(self, scope: Scope, node: Node, error: Exception) -> None:
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

    def _emitter(self, scope: Scope, node: Node) -> Callable[[str], None]:
        path = scope.path + node.name
        is_final = not scope.path and node.name in scope.layout.graph.outputs
        is_first = True

        def emit(text: str) -> None:
            nonlocal is_first
            if self.result.done():
                return
            if is_first:
                is_first = False
                self._tell("first_token", path, node.op)
            self._tell("text", path, node.op, {"text": text, "final": is_final})

        return emit

    def _tell_end(self, path: str, op: str, result: Result) -> None:
        usage = result.usage
        fields: dict[str, Any] = {
            "prefill_tokens": usage.prefill_tokens,
            "cached_tokens": usage.cached_tokens,
            "decode_tokens": usage.decode_tokens,
            "num_items": usage.num_items,
        }
        if result.finish_reason is not None:
            fields["finish_reason"] = result.finish_reason
        self._tell("end", path, op, fields)

    def _tell(
        self, kind: EventKind, node: str = "", op: str = "", fields: Mapping[str, Any] | None = None
    ) -> None:
        if self._listener is not None:
            self._listener(Event(now(), kind, self.name, node, op, fields or {}))
