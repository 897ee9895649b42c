"""The upper tier: runs one query's graph, primitive by primitive, without any barrier.

A primitive goes to its engine's scheduler the moment its last input is there; one that reads a
stream, item by item. Everything happens in callbacks on one event loop, so the state needs no lock
and an engine's answer leads to the next dispatch within the same turn of the loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from backends.base import Outcome, Request, Result
from graph_opt.graph import Node
from graph_opt.ops import OPS
from runtime.asides import Asides
from runtime.branches import Branches
from runtime.caller import ANYBODY, Caller
from runtime.clock import now
from runtime.dispatch import make_request, request_attrs
from runtime.emitting import emitter_of
from runtime.errors import HOW_TO_BOUND, ParseError, QueryError
from runtime.events import Listener
from runtime.failed_context import (
    FailedContext,
    failure_of_context,
    lacks_input,
    passes_failure_on,
)
from runtime.failures import Failure, FailureKey, error_at, top_of
from runtime.guesses import Guess, GuessHistory
from runtime.job import Job, Scheduler, Started
from runtime.layout import Layout
from runtime.left import QueryLeft
from runtime.next_uses import NextUses
from runtime.ops.table import OP_RUNS
from runtime.outputs import Outputs
from runtime.piecewise import run_in_pieces
from runtime.prefix_orders import Order, PrefixOrders
from runtime.scope import Above, Body, Scope, Through, arg_value, bind, release
from runtime.separate_values import SeparateValues
from runtime.stopping import close
from runtime.telling import Teller
from runtime.tries import tries_of

MAX_BEGUN = 64  # nodes begun in one turn of the loop, so that it is not held for long
BULK_PRIORITY = -1  # for engines that order by priority: after all latency-sensitive work

_HELD_TO = frozenset(("schema", "regex", "choices"))  # a text that was cut is none of these


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
        order: Order | None = None,
        guesses: Mapping[str, GuessHistory] | None = None,
        traceparent: Callable[[str], str] | None = None,
        caller: Caller = ANYBODY,
        next_uses: NextUses | None = None,
        branches: Callable[[str, Teller], Branches] | None = None,
        through: Through | None = None,
    ) -> None:
        """`guesses` are those at the engines, by what the app calls them. `traceparent` gives the
        trace context of the request at a place of the run, as `q3.hits[2].search`. Engines that
        want to know when contexts are read hear it of `next_uses`. Conditions are guessed by what
        `branches` gives; `through` is where requests of the graph go first."""
        self.name = name
        self._caller = caller
        self._traceparent = traceparent
        self._guesses = guesses or {}
        self._next_uses = next_uses
        self.order = order or partial(PrefixOrders().order, None)
        self.app = layout.graph.name
        self._outputs = outputs
        self.symbols = symbols
        self.result: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._engines = engines
        self._teller = Teller(name, listener, self.fail)
        self._tell = self._teller.tell
        self._asides = Asides(name, self._teller)
        self._left = QueryLeft(layout.hints, now())
        top = Body(layout, bind(layout, inputs), self._succeed, on_error=self.fail, through=through)
        self._root = Scope(top)
        self._branches = branches(self.app, self._teller) if branches is not None else None
        self._separate: SeparateValues | None = None
        if outputs is not None and outputs.on_error is not None:
            self._separate = SeparateValues(self._root, outputs)
        self._ready: deque[tuple[Scope, Node]] = deque()
        self._in_turn: deque[tuple[Scope, Node, Callable[[], None]]] = deque()
        self._attrs: dict[int, Mapping[str, Any]] = {}  # of requests, by the node's id()
        self._failures: dict[FailureKey, Failure] = {}  # those before which something may fail
        self._unsettled: dict[FailureKey, None] = {}  # those to look at again
        self._is_draining = False
        self._drain_is_due = False

    def start(self, about: Mapping[str, Any]) -> None:
        """Dispatch everything that is ready. `about` goes into the query's first event."""
        self._tell("query", fields=about)
        self._enter(self._root)
        self.drain()

    def fail(self, error: QueryError) -> None:
        """End the query now: stop its requests, free its values, give `error` to the caller."""
        if self.result.done():
            return
        self._ready.clear()
        self._in_turn.clear()
        self._failures.clear()
        self._unsettled.clear()
        close(self._root)
        self._end(error)

    def _end(self, error: QueryError) -> None:
        self._end_guesses()
        self.result.set_exception(error)
        self._tell("done", fields={"status": type(error).__name__, "error": str(error)})

    def _succeed(self, results: list[Any]) -> None:
        self._end_guesses()
        self.result.set_result(results)
        self._tell("done", fields={"status": "ok"})

    def _end_guesses(self) -> None:
        self._asides.end()
        if self._branches is not None:
            self._branches.end()

    def chosen(self, scope: Scope, node: Node, branch: int) -> Through | None:
        if self._branches is None:
            return None
        ahead = self._branches.chosen(scope, node, branch)
        return ahead.taking if ahead is not None else None

    def branch_done(self, scope: Scope, node: Node) -> None:
        if self._branches is not None:
            self._branches.done(scope, node)

    # The walk through the graph

    def expects(self, scope: Scope, node: Node, num_bodies: int) -> None:
        self._left.expects(scope, node, num_bodies)

    def open_body(self, scope: Scope, node: Node, body: Body) -> None:
        if scope.is_body_stopped(node, body.place):
            body.stopped()
            return
        self._left.opened(scope, node)
        inner = Scope(body, Above(scope, node))
        scope.children[inner] = None
        self._enter(inner)

    def _enter(self, scope: Scope) -> None:
        self._ready.extend((scope, node) for node in scope.ready_at_start())
        for param, late in scope.missing.items():
            late.when_there(lambda name=param: self._param_came(scope, name))  # type: ignore[misc]
        if self._branches is not None and scope.layout.ahead:
            self._branches.look(scope)
        if not scope.num_unfinished:
            self._close(scope)

    def _param_came(self, scope: Scope, name: str) -> None:
        self._ready.extend((scope, node) for node in scope.param_came(name))

    def finish(self, scope: Scope, node: Node, outputs: Sequence[Any]) -> None:
        if scope.stops is not None:
            if scope.is_stopped(node):
                for value in outputs:
                    release(value)
                return
            self._look_again(scope, node)
        if self._outputs is not None and not scope.path:
            named = list(zip(node.outputs, outputs, strict=True))
            for name, value in reversed(named):  # who gets a text has its context already
                if name in scope.layout.graph.outputs:
                    scope.give(name)
                    self._outputs.on_value(name, value)
        self._left.ended(scope, node)
        awaited = scope.awaited(node, outputs)
        self._ready.extend((scope, follower) for follower in scope.finish(node, outputs))
        if self._branches is not None and scope.layout.ahead:
            self._branches.look(scope)
        if not scope.num_unfinished:
            self._close(scope)
        for late, value in awaited:  # by a node that is unfinished, so the scope is still open
            late.arrive(value)
        stream = scope.out_stream(node)
        if stream is not None:
            stream.close()

    def drain(self) -> None:
        if self._is_draining or self._drain_is_due:
            return
        self._is_draining = True
        num_begun = 0
        while num_begun < MAX_BEGUN and (self._ready or self._in_turn or self._settle()):
            num_begun += 1
            self._begin_next()  # raises nothing: see guard and _tell
        self._is_draining = False
        if num_begun == MAX_BEGUN:
            self._drain_is_due = True
            asyncio.get_running_loop().call_soon(self._drain_on)

    def _drain_on(self) -> None:
        self._drain_is_due = False
        self.drain()

    def _begin_next(self) -> None:
        if self._ready:
            scope, node = self._ready.popleft()
            if self._may_begin(scope, node):
                self._begin_guarded(scope, node)
        elif self._in_turn:
            self.guard(*self._in_turn.popleft())

    def _begin_guarded(self, scope: Scope, node: Node) -> None:
        try:  # as in guard, without a call for each node
            self._begin(scope, node)
        except Exception as error:
            self.fail_at(scope, node, error)

    def in_turn(self, scope: Scope, node: Node, work: Callable[[], None]) -> None:
        self._in_turn.append((scope, node, work))

    def _may_begin(self, scope: Scope, node: Node) -> bool:
        if scope.is_stopped(node):
            return False
        return self._separate is None or scope is not self._root or self._separate.may_begin(node)

    def _settle(self) -> bool:
        """End what the next failure ends before which nothing can fail; whether there was one."""
        if self._separate is not None:
            self._go_on(self._separate.settle())
        while self._unsettled:
            key, _ = self._unsettled.popitem()
            failure = self._failures[key]
            if failure.top.is_closed:  # by what is around it
                del self._failures[key]
            elif failure.is_first():
                del self._failures[key]
                self._take(failure)
                return True
        return bool(self._ready)

    def _look_again(self, scope: Scope, node: Node) -> None:
        """Something ended that a failure may have waited for."""
        top, top_node = top_of(scope, node)
        key = (top, top_node.name if self._is_alone(top) else "")
        if key in self._failures:
            self._unsettled[key] = None

    def _is_alone(self, top: Scope) -> bool:
        return self._separate is not None and top is self._root

    def _take(self, failure: Failure) -> None:
        top, above = failure.top, failure.top.above
        failure.end()
        if failure.is_alone:
            assert self._separate is not None, "else nothing fails alone"
            self._go_on(self._separate.lose(failure.top_node, failure.error))
            return
        assert top.body.on_error is not None, "the top takes failures"
        if above is None:
            top.body.on_error(failure.error)
        else:
            self.guard(above.scope, above.node, partial(top.body.on_error, failure.error))

    def _go_on(self, ready: Sequence[Node]) -> None:
        """Nodes of the query's own graph were lost, and these are ready."""
        self._ready.extend((self._root, node) for node in ready)
        if not self._root.num_unfinished and not self.result.done():
            self._close(self._root)

    def _close(self, scope: Scope) -> None:
        if scope.above is None:
            error = None if self._separate is None else self._separate.tell_effects()
            self._succeed(scope.results()) if error is None else self._end(error)
            return
        above = scope.above
        del above.scope.children[scope]
        if above.scope.stops is not None:
            self._look_again(above.scope, above.node)
        self.guard(above.scope, above.node, lambda: scope.body.on_done(scope.results()))

    def _begin(self, scope: Scope, node: Node) -> None:
        if scope.layout.early[node.name]:
            self._ready.extend((scope, early) for early in scope.begin(node))
        op = OP_RUNS[node.op]
        if op.begin is not None:
            op.begin(self, scope, node)
        elif node.name in scope.layout.streamed:
            (op.begin_streamed or run_in_pieces)(self, scope, node)
        elif op.run is not None:
            args = [arg_value(arg, scope.values) for arg in node.args]
            self.finish(scope, node, (op.run(node, args, self.symbols),))
        else:
            self._submit_whole(scope, node)

    def guard(self, scope: Scope, node: Node, work: Callable[[], None]) -> None:
        """Do a node's own work: whatever goes wrong in it is this node's failure."""
        try:
            work()
        except Exception as error:
            self.fail_at(scope, node, error)

    def later(
        self, scope: Scope, node: Node, delay_s: float, tell: Callable[[], None]
    ) -> Callable[[], None]:
        key = object()

        def fire() -> None:
            del scope.running[key]
            self.guard(scope, node, tell)
            self.drain()

        def cancel() -> None:
            if scope.running.pop(key, None) is not None:
                timer.cancel()

        timer = asyncio.get_running_loop().call_later(delay_s, fire)
        scope.running[key] = (node, timer.cancel)
        return cancel

    # Requests to engines

    def piece_size(self, node: Node) -> int:
        return self._engines[str(node.attrs["engine"])].batch_items

    def num_slots(self, engine: str) -> int:
        return self._engines[engine].num_slots

    def room(self, engine: str) -> int:
        return self._engines[engine].num_slots * self._engines[engine].batch_items

    def submit_piece(
        self,
        scope: Scope,
        node: Node,
        suffix: str,
        values: Mapping[str, Any],
        without: Collection[str],
        on_result: Callable[[Result], None],
    ) -> None:
        attrs = request_attrs(node, self.symbols, without)
        request = make_request(node, {**scope.values, **values}, attrs)
        self._submit(scope, node, scope.path + node.name + suffix, request, on_result)

    def _submit_whole(self, scope: Scope, node: Node) -> None:
        if "ahead_of" in node.attrs:
            self._submit_aside(scope, node)
            return
        lost = failure_of_context(node, scope.values)
        if lost is not None:
            self._lose(scope, node, lost)
            return
        if self._next_uses is not None:
            self._next_uses.begun(scope, node)
        emit = (
            emitter_of(self, self._outputs, self._teller, scope, node)
            if OPS[node.op].writes_text
            else None
        )
        attrs = self._attrs.get(id(node))
        if attrs is None:
            attrs = self._attrs[id(node)] = request_attrs(node, self.symbols)
        at_path = OP_RUNS[node.op].at_path
        if at_path is not None:
            attrs = at_path(attrs, f"{self.name}.{scope.path}{node.name}")
        request = make_request(node, scope.values, attrs, emit)

        def on_result(result: Result) -> None:
            if result.finish_reason == "length" and not _HELD_TO.isdisjoint(node.attrs):
                raise ParseError(
                    f"the model wrote {node.attrs.get('max_tokens')} tokens (max_tokens) and its "
                    f"value was not complete: {HOW_TO_BOUND}; it wrote "
                    f"{result.outputs[0][:200]!r}",
                    text=result.outputs[0],
                )
            if result.finish_reason is not None:
                scope.finish_reasons[node.name] = result.finish_reason
            growing = scope.growing_text(node)
            self.finish(scope, node, result.outputs)
            if growing is not None:
                growing.close(result.outputs[0])

        self._submit(scope, node, scope.path + node.name, request, on_result)

    def _submit_aside(self, scope: Scope, node: Node) -> None:
        """Run a node that nobody waits for, if its engine has the time."""
        engine = str(node.attrs["engine"])
        scheduler = self._engines[engine]
        is_guess = OP_RUNS[node.op].extends_context
        history = self._guesses.get(engine) or GuessHistory()
        is_free = not scheduler.num_jobs
        if is_guess:
            is_free = history.may_begin(node.attrs, scheduler.num_jobs)
        if is_free and not lacks_input(node, scope.values):
            request = make_request(node, scope.values, request_attrs(node, self.symbols))
            request.priority = BULK_PRIORITY
            hint = scope.layout.hints[node.name]
            guess = Guess(history) if is_guess else None
            self._asides.submit(engine, scheduler, request, hint, scope.path, node, guess)
        self.finish(scope, node, (0,))

    def _submit(
        self,
        scope: Scope,
        node: Node,
        path: str,
        request: Request,
        on_result: Callable[[Result], None],
    ) -> None:
        if scope.is_stopped(node):
            return
        # What was to be done ahead of it is there by now, or late.
        guess = self._asides.end_of(path)
        settled = guess.settled if guess is not None else _as_it_is
        engine = str(node.attrs["engine"])  # as this app calls it: others may use it too
        scheduler = self._engines[engine]
        if scope.body.through is not None:
            scheduler = scope.body.through(node, scheduler)
        hint = scope.layout.hints[node.name]
        request.priority = BULK_PRIORITY if hint.kind == "throughput" else 0
        job = Job(
            request=request,
            query=self.name,
            hint=hint,
            on_start=lambda started: self._on_start(scope, node, path, started),
            on_done=lambda out: self._on_done(
                scope, node, path, request.id, settled(out), on_result
            ),
            may_remember=node.name in scope.layout.remembered,
            may_repeat=node.name in scope.layout.repeated,
            path=path,
            is_heard=self._teller.is_heard,
            node=node,
            caller=self._caller,
            left=self._left.shared,
        )
        if self._teller.is_heard:
            request.is_heard = True
            fields = {"engine": engine, "items": request.num_items}
            self._tell("ready", path, node.op, fields)
            job.on_retry = partial(self._tell, "retry", path, node.op)
        if self._traceparent is not None:
            request.traceparent = self._traceparent(f"{self.name}.{path}")
        if "retries" in node.attrs or "timeout_s" in node.attrs:
            on_retry = partial(self._tell, "retry", path, node.op)
            tries = tries_of(scheduler, job, node, f"{self.name} {path}", on_retry)
            scope.running[request.id] = (node, tries.cancel)
            tries.submit()
            return
        scope.running[request.id] = (node, partial(scheduler.cancel, job))
        scheduler.submit(job)

    def _on_start(self, scope: Scope, node: Node, path: str, started: Started) -> None:
        if not self._teller.is_heard or scope.is_stopped(node):
            return
        self._teller.tell_start(path, node.op, str(node.attrs["engine"]), started)

    def _on_done(
        self,
        scope: Scope,
        node: Node,
        path: str,
        request_id: str,
        outcome: Outcome,
        on_result: Callable[[Result], None],
    ) -> None:
        if scope.running.pop(request_id, None) is None:  # it was stopped while this ran
            if isinstance(outcome, Result):
                for value in outcome.outputs:
                    release(value)
            return
        try:
            self._receive(scope, node, path, outcome, on_result)
        except Exception as error:  # a mistake of ours: it ends this query, not the engine's slot
            broken = QueryError(f"query {self.name} broke at %{path}: {error!r}")
            broken.__cause__ = error
            self.fail(broken)

    def _receive(
        self,
        scope: Scope,
        node: Node,
        path: str,
        outcome: Outcome,
        on_result: Callable[[Result], None],
    ) -> None:
        if isinstance(outcome, Exception):
            self._lose(scope, node, outcome)
        else:
            if self._teller.is_heard:
                self._teller.tell_end(path, node.op, outcome)
            if self._branches is not None:
                self._branches.used(outcome)
            if self._next_uses is not None:
                self._next_uses.ended(scope, node, outcome.outputs)
            try:  # as in guard
                on_result(outcome)
            except Exception as error:
                self.fail_at(scope, node, error)
        self.drain()

    def _lose(self, scope: Scope, node: Node, error: Exception) -> None:
        if passes_failure_on(node):
            self.finish(scope, node, (FailedContext(error),))
        else:
            self.fail_at(scope, node, error)

    def fail_at(self, scope: Scope, node: Node, error: Exception) -> None:
        if scope.is_stopped(node):
            return
        if "ahead_of" in node.attrs:  # it harms nobody
            self.finish(scope, node, (FailedContext(error),))
            return
        path = scope.path + node.name
        self._tell("error", path, node.op, {"error": f"{type(error).__name__}: {error}"})
        top, _ = top_of(scope, node)
        failure = Failure(error_at(scope, node, error), scope, node, top, self._is_alone(top))
        failure.stop_later()
        self._failures[failure.key] = failure
        self._unsettled[failure.key] = None


def _as_it_is(outcome: Outcome) -> Outcome:
    return outcome
