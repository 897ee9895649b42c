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

from backends.base import Result
from graph_opt.graph import Node
from runtime.branches import Branches
from runtime.caller import ANYBODY, Caller
from runtime.clock import now
from runtime.errors import QueryError
from runtime.events import Listener
from runtime.failed_context import FailedContext
from runtime.guesses import GuessHistory
from runtime.job import Scheduler
from runtime.layout import Layout
from runtime.left import QueryLeft
from runtime.next_uses import NextUses
from runtime.node_requests import NodeRequests
from runtime.ops.table import OP_RUNS
from runtime.outputs import Outputs
from runtime.pending_failures import PendingFailures
from runtime.piecewise import run_in_pieces
from runtime.prefix_orders import Order, PrefixOrders
from runtime.scope import Above, Body, Scope, Through, arg_value, bind, release
from runtime.separate_values import SeparateValues
from runtime.stopping import close
from runtime.telling import Teller

MAX_BEGUN = 64  # nodes begun in one turn of the loop, so that it is not held for long


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
        """`guesses` and `traceparent` are as in `NodeRequests`. Engines that want to know when
        contexts are read hear it of `next_uses`. Conditions are guessed by what `branches` gives;
        `through` is where requests of the graph go first."""
        self.name = name
        self.order = order or partial(PrefixOrders().order, None)
        self.app = layout.graph.name
        self._outputs = outputs
        self.symbols = symbols
        self.result: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._teller = Teller(name, listener, self.fail)
        self._tell = self._teller.tell
        self._left = QueryLeft(layout.hints, now())
        top = Body(layout, bind(layout, inputs), self._succeed, on_error=self.fail, through=through)
        self._root = Scope(top)
        self._branches = branches(self.app, self._teller) if branches is not None else None
        self._separate: SeparateValues | None = None
        if outputs is not None and outputs.on_error is not None:
            self._separate = SeparateValues(self._root, outputs)
        self._ready: deque[tuple[Scope, Node]] = deque()
        self._in_turn: deque[tuple[Scope, Node, Callable[[], None]]] = deque()
        self._failures = PendingFailures(self, self._root, self._separate, self._go_on)
        self._requests = NodeRequests(
            self,
            engines,
            self._teller,
            self._left,
            caller,
            outputs,
            guesses or {},
            traceparent,
            next_uses,
        )
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
        self._requests.end()
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
        if scope.stops is not None and scope.is_body_stopped(node, body.place):
            body.stopped()
            return
        self._left.opened(scope, node)
        inner = Scope(body, Above(scope, node))
        scope.children[inner] = None
        self._enter(inner)

    def _enter(self, scope: Scope) -> None:
        self._ready.extend([(scope, node) for node in scope.ready_at_start()])
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
            self._failures.look_again(scope, node)
        if self._outputs is not None and not scope.path:
            named = list(zip(node.outputs, outputs, strict=True))
            for name, value in reversed(named):  # who gets a text has its context already
                if name in scope.layout.graph.outputs:
                    scope.give(name)
                    self._outputs.on_value(name, value)
        self._left.ended(scope, node)
        awaited = scope.awaited(node, outputs)
        for follower in scope.finish(node, outputs):
            self._ready.append((scope, follower))
        if self._branches is not None and scope.layout.ahead:
            self._branches.look(scope)
        if not scope.num_unfinished:
            self._close(scope)
        for late, value in awaited:  # by a node that is unfinished, so the scope is still open
            late.arrive(value)
        if scope.streams and (stream := scope.out_stream(node)) is not None:
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
                try:  # as in guard, without a call for each node
                    self._begin(scope, node)
                except Exception as error:
                    self.fail_at(scope, node, error)
        elif self._in_turn:
            self.guard(*self._in_turn.popleft())

    def in_turn(self, scope: Scope, node: Node, work: Callable[[], None]) -> None:
        self._in_turn.append((scope, node, work))

    def _may_begin(self, scope: Scope, node: Node) -> bool:
        if scope.stops is not None and scope.is_stopped(node):
            return False
        return self._separate is None or scope is not self._root or self._separate.may_begin(node)

    def _settle(self) -> bool:
        """End what a failure ends for which nothing is to be waited; whether to go on."""
        if self._separate is not None:
            self._go_on(self._separate.settle())
        return self._failures.settle() or bool(self._ready)

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
            self._failures.look_again(above.scope, above.node)
        try:  # as in guard, without a call for each body
            scope.body.on_done(scope.results())
        except Exception as error:
            self.fail_at(above.scope, above.node, error)

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
            self._requests.submit(scope, node)

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
        return self._requests.engines[str(node.attrs["engine"])].batch_items

    def num_slots(self, engine: str) -> int:
        return self._requests.engines[engine].num_slots

    def room(self, engine: str) -> int:
        scheduler = self._requests.engines[engine]
        return scheduler.num_slots * scheduler.batch_items

    def submit_piece(
        self,
        scope: Scope,
        node: Node,
        suffix: str,
        values: Mapping[str, Any],
        without: Collection[str],
        on_result: Callable[[Result], None],
    ) -> None:
        self._requests.submit_piece(scope, node, suffix, values, without, on_result)

    def fail_at(self, scope: Scope, node: Node, error: Exception) -> None:
        if scope.is_stopped(node):
            return
        if "ahead_of" in node.attrs:  # it harms nobody
            self.finish(scope, node, (FailedContext(error),))
            return
        path = scope.path + node.name
        self._tell("error", path, node.op, {"error": f"{type(error).__name__}: {error}"})
        self._failures.add(scope, node, error)
