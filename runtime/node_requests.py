"""The requests of one query: from a node whose inputs are there to its outcome.

A request goes to the scheduler of its node's engine. Its outcome comes back in a callback, in which
the node finishes or fails and what waited for it begins.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Protocol

from backends.base import Outcome, Request, Result
from backends.place import Place
from graph_opt.graph import Node
from graph_opt.ops import OPS
from runtime.asides import Asides
from runtime.caller import Caller
from runtime.cost.seen import num_texts
from runtime.dispatch import make_request, request_attrs
from runtime.emitting import emitter_of
from runtime.errors import HOW_TO_BOUND, ParseError, QueryError
from runtime.failed_context import (
    FailedContext,
    failure_of_context,
    lacks_input,
    passes_failure_on,
)
from runtime.guesses import Guess, GuessHistory
from runtime.hints import Hint
from runtime.host import Host
from runtime.job import Job, Scheduler, Started
from runtime.left import QueryLeft
from runtime.next_uses import NextUses
from runtime.ops.table import OP_RUNS
from runtime.outputs import Outputs
from runtime.scope import Scope, release
from runtime.telling import Teller
from runtime.tries import tries_of

BULK_PRIORITY = -1  # for engines that order by priority: after all latency-sensitive work

_HELD_TO = frozenset(("schema", "regex", "choices"))  # a text that was cut is none of these


class RunningQuery(Host, Protocol):
    """The query whose nodes ask."""

    name: str

    def fail(self, error: QueryError) -> None:
        """End the query now."""


class NodeRequests:
    """Makes the requests of a query's nodes, and tells the query how they end."""

    def __init__(
        self,
        query: RunningQuery,
        engines: Mapping[str, Scheduler],
        teller: Teller,
        left: QueryLeft,
        caller: Caller,
        outputs: Outputs | None,
        guesses: Mapping[str, GuessHistory],
        traceparent: Callable[[str], str] | None,
        next_uses: NextUses | None,
    ) -> None:
        """`guesses` are those at the engines, by what the app calls them. `traceparent` gives the
        trace context of the request at a place of the run, as `q3.hits[2].search`."""
        self.engines = engines
        self._query = query
        self._teller = teller
        self._left = left
        self._caller = caller
        self._outputs = outputs
        self._guesses = guesses
        self._traceparent = traceparent
        self._next_uses = next_uses
        self._asides = Asides(query.name, teller)
        self._attrs: dict[int, Mapping[str, Any]] = {}  # of requests, by the node's id()
        self._places: dict[int, Place] = {}  # by the hint's id()

    def end(self) -> None:
        """Stop what runs for later nodes: there will be none."""
        self._asides.end()

    def submit(self, scope: Scope, node: Node) -> None:
        """Run a node on the scope's values."""
        if "ahead_of" in node.attrs:
            self._submit_aside(scope, node)
            return
        lost = failure_of_context(node, scope.values)
        if lost is not None:
            self._lose(scope, node, lost)
            return
        if self._next_uses is not None:
            self._next_uses.begun(scope, node)
        path = scope.path + node.name
        request = self._whole_request(scope, node, path)
        if self._next_uses is not None:
            request.next_read_s = self._next_uses.next_read_s(scope, node)
        self._submit(scope, node, path, request, self._ended_whole)

    def submit_piece(
        self,
        scope: Scope,
        node: Node,
        suffix: str,
        values: Mapping[str, Any],
        without: Collection[str],
        on_result: Callable[[Result], None],
    ) -> None:
        """Run a node on other values than the scope's, leaving out some attrs."""
        attrs = request_attrs(node, self._query.symbols, without)
        request = make_request(node, {**scope.values, **values}, attrs)
        path = scope.path + node.name + suffix
        self._submit(scope, node, path, request, lambda _scope, _node, result: on_result(result))

    def _whole_request(self, scope: Scope, node: Node, path: str) -> Request:
        attrs = self._attrs.get(id(node))
        if attrs is None:
            attrs = self._attrs[id(node)] = request_attrs(node, self._query.symbols)
        at_path = OP_RUNS[node.op].at_path
        if at_path is not None:
            attrs = at_path(attrs, f"{self._query.name}.{path}")
        emit = None
        if OPS[node.op].writes_text:
            emit = emitter_of(self._query, self._outputs, self._teller, scope, node)
        return make_request(node, scope.values, attrs, emit)

    def _ended_whole(self, scope: Scope, node: Node, result: Result) -> None:
        if result.finish_reason == "length" and not _HELD_TO.isdisjoint(node.attrs):
            raise ParseError(
                f"the model wrote {node.attrs.get('max_tokens')} tokens (max_tokens) and its "
                f"value was not complete: {HOW_TO_BOUND}; it wrote {result.outputs[0][:200]!r}",
                text=result.outputs[0],
            )
        if result.finish_reason is not None:
            scope.finish_reasons[node.name] = result.finish_reason
        growing = scope.growing_text(node)
        self._query.finish(scope, node, result.outputs)
        if growing is not None:
            growing.close(result.outputs[0])

    def _submit_aside(self, scope: Scope, node: Node) -> None:
        """Run a node that nobody waits for, if its engine has the time."""
        engine = str(node.attrs["engine"])
        scheduler = self.engines[engine]
        is_guess = OP_RUNS[node.op].extends_context
        history = self._guesses.get(engine) or GuessHistory()
        is_free = not scheduler.num_jobs
        if is_guess:
            is_free = history.may_begin(node.attrs, scheduler.num_jobs)
        if is_free and not lacks_input(node, scope.values):
            attrs = request_attrs(node, self._query.symbols)
            request = make_request(node, scope.values, attrs)
            request.priority = BULK_PRIORITY
            hint = scope.layout.hints[node.name]
            guess = Guess(history) if is_guess else None
            self._asides.submit(engine, scheduler, request, hint, scope.path, node, guess)
        self._query.finish(scope, node, (0,))

    def _submit(
        self,
        scope: Scope,
        node: Node,
        path: str,
        request: Request,
        on_result: Callable[[Scope, Node, Result], None],
    ) -> None:
        if scope.stops is not None and scope.is_stopped(node):
            return
        # What was to be done ahead of it is there by now, or late.
        guess = self._asides.end_of(path)
        engine = str(node.attrs["engine"])  # as this app calls it: others may use it too
        scheduler = self.engines[engine]
        if scope.body.through is not None:
            scheduler = scope.body.through(node, scheduler)
        layout, name, is_heard = scope.layout, node.name, self._teller.is_heard
        hint = layout.hints[name]
        if hint.kind == "throughput":
            request.priority = BULK_PRIORITY
        on_done = partial(self._on_done, scope, node, path, request.id, on_result)
        job = Job(
            request=request,
            query=self._query.name,
            hint=hint,
            on_start=partial(self._on_start, scope, node, path) if is_heard else _tell_nobody,
            on_done=on_done if guess is None else lambda out: on_done(guess.settled(out)),
            may_remember=name in layout.remembered,
            may_repeat=name in layout.repeated,
            path=path,
            is_heard=is_heard,
            node=node,
            caller=self._caller,
            place=self._place(hint),
        )
        if is_heard:
            request.is_heard = True
            fields = {"engine": engine, "items": request.num_items}
            self._teller.tell("ready", path, node.op, fields)
            job.on_retry = partial(self._teller.tell, "retry", path, node.op)
        if self._traceparent is not None:
            request.traceparent = self._traceparent(f"{self._query.name}.{path}")
        if "retries" in node.attrs or "timeout_s" in node.attrs:
            on_retry = partial(self._teller.tell, "retry", path, node.op)
            tries = tries_of(scheduler, job, node, f"{self._query.name} {path}", on_retry)
            scope.running[request.id] = (node, tries.cancel)
            tries.submit()
            return
        scope.running[request.id] = (node, partial(scheduler.cancel, job))
        scheduler.submit(job)

    def _place(self, hint: Hint) -> Place:
        """Where the requests of a node stand in the query: all of them alike."""
        place = self._places.get(id(hint))
        if place is None:
            left = self._left.shared
            place = self._places[id(hint)] = hint.at(self._query.name, self._caller, left)
        return place

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
        on_result: Callable[[Scope, Node, Result], None],
        outcome: Outcome,
    ) -> None:
        if scope.running.pop(request_id, None) is None:  # it was stopped while this ran
            if isinstance(outcome, Result):
                for value in outcome.outputs:
                    release(value)
            return
        try:
            self._receive(scope, node, path, outcome, on_result)
        except Exception as error:  # a mistake of ours: it ends this query, not the engine's slot
            broken = QueryError(f"query {self._query.name} broke at %{path}: {error!r}")
            broken.__cause__ = error
            self._query.fail(broken)

    def _receive(
        self,
        scope: Scope,
        node: Node,
        path: str,
        outcome: Outcome,
        on_result: Callable[[Scope, Node, Result], None],
    ) -> None:
        if isinstance(outcome, Exception):
            self._lose(scope, node, outcome)
        else:
            if self._teller.is_heard:
                self._teller.tell_end(path, node.op, outcome)
            if (seen := scope.layout.seen.get(node.name)) is not None:
                seen.note(outcome.usage, num_texts(node))
            if self._next_uses is not None:
                self._next_uses.ended(scope, node, outcome.outputs)
            try:  # as in guard
                on_result(scope, node, outcome)
            except Exception as error:
                self._query.fail_at(scope, node, error)
        self._query.drain()

    def _lose(self, scope: Scope, node: Node, error: Exception) -> None:
        if passes_failure_on(node):
            self._query.finish(scope, node, (FailedContext(error),))
        else:
            self._query.fail_at(scope, node, error)


def _tell_nobody(started: Started) -> None:
    """Of a query without a listener."""
