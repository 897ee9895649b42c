"""Tells engines when a query is going to read the contexts that it holds.

The plan knows the order and the seconds (`graph_opt.analysis.next_use`). What the query finds out
corrects them: it is late by so much, this tool takes so long (`call_times.py`). In a segment of an
`async def` app, contexts of the app that it does not read wait for its end: those of an agent
while its tools run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from backends.base import Context, Engine, Expecting
from graph_opt.graph import Node, Ref
from graph_opt.ops import OPS, reads_context
from runtime.call_times import CallTimes, tool_of
from runtime.clock import now
from runtime.layout import Layout
from runtime.scope import Scope

CHANGE = 0.2  # an expectation is told again if it is off by so much of itself,
LEAST_S = 0.05  # and by so many seconds


@dataclass(slots=True)
class _Told:
    """What an engine was told of a context."""

    engine: Expecting
    read_s: float  # by the plan
    due_s: float  # on the clock


class Homes:
    """Which engine holds a context, of those that want to know. Shared by all queries."""

    def __init__(self) -> None:
        self.calls = CallTimes()
        self._engines: WeakKeyDictionary[Context, Expecting] = WeakKeyDictionary()

    def note(self, context: Context, engine: Expecting) -> None:
        """The engine made the context."""
        self._engines[context] = engine

    def of(self, context: Context) -> Expecting | None:
        """None for a context whose engine asks nothing."""
        return self._engines.get(context)


class NextUses:
    """Of one query, whose plan has times."""

    def __init__(
        self,
        engines: Mapping[str, Expecting],
        layout: Layout,
        symbols: Mapping[str, Any],
        homes: Homes,
        waiting: Sequence[Context] = (),
    ) -> None:
        """`engines` by what the app calls them; contexts `waiting` are read after the query."""
        self._engines = engines
        self._symbols = symbols
        self._homes = homes
        self._began_s = now()
        self._late_s = 0.0  # as of the last correction
        self._called_s: dict[tuple[Scope, str], float] = {}
        self._told: WeakKeyDictionary[Context, _Told] = WeakKeyDictionary()
        for context in waiting:
            self._tell(homes.of(context), context, layout.times.length_s, layout.times.length_s)

    def begun(self, scope: Scope, node: Node) -> None:
        """The request of a node is about to be submitted."""
        times = scope.layout.times
        begin_s = times.begins.get(node.name)
        if begin_s is None:
            return
        if OPS[node.op].engine_kind == "python":
            self._called_s[scope, node.name] = now()
            expected_s = self._homes.calls.expected_s(tool_of(node, self._symbols))
            if expected_s is not None:
                end_s = times.ends[node.name]
                self._correct(now() + expected_s - self._began_s - end_s, end_s)
        first = node.args[0] if node.args else None
        if not isinstance(first, Ref) or not reads_context(node):
            return
        again = [time_s for time_s in times.reads.get(first.name, ()) if time_s > begin_s]
        context = scope.values.get(first.name)
        if again and isinstance(context, Context):
            self._tell(self._of(node), context, again[0], again[0] - begin_s)

    def next_read_s(self, scope: Scope, node: Node) -> float | None:
        """Seconds from the end of a node until the context that it makes is read, by the plan;
        None: nothing is known. It goes with the request, to engines in other processes."""
        times = scope.layout.times
        reads = [times.reads[name][0] for name in node.outputs if name in times.reads]
        return max(0.0, min(reads) - times.ends[node.name]) if reads else None

    def ended(self, scope: Scope, node: Node, outputs: Sequence[Any]) -> None:
        """The request of a node ended; its outputs are not in the scope yet."""
        times = scope.layout.times
        end_s = times.ends.get(node.name)
        if end_s is None:
            return
        called_s = self._called_s.pop((scope, node.name), None)
        if called_s is not None:
            self._homes.calls.note(tool_of(node, self._symbols), now() - called_s)
        self._correct(now() - self._began_s - end_s, end_s)
        engine = self._of(node)
        for name, value in zip(node.outputs, outputs, strict=False):
            if engine is None or not isinstance(value, Context):
                continue
            self._homes.note(value, engine)
            if name in times.reads:
                read_s = times.reads[name][0]
                self._tell(engine, value, read_s, read_s - end_s)

    def _of(self, node: Node) -> Expecting | None:
        return self._engines.get(str(node.attrs["engine"]))

    def _tell(
        self, engine: Expecting | None, context: Context, read_s: float, after_s: float
    ) -> None:
        if engine is not None:
            after_s = max(0.0, after_s)
            self._told[context] = _Told(engine, read_s, now() + after_s)
            engine.expect([(context, after_s)])

    def _correct(self, late_s: float, end_s: float) -> None:
        """What is read behind `end_s`, by the plan, is so late. Whoever is told again was off by a
        share of the time, so that a context is told a few times, not at each end."""
        now_s = now()
        if abs(late_s - self._late_s) < LEAST_S + CHANGE * abs(self._late_s):
            return
        self._late_s = late_s
        for context, told in list(self._told.items()):
            due_s = self._began_s + told.read_s + late_s
            is_behind = told.read_s >= end_s and due_s > now_s
            if is_behind and abs(due_s - told.due_s) > LEAST_S + CHANGE * (due_s - now_s):
                self._tell(told.engine, context, told.read_s, due_s - now_s)


def next_uses_of(
    layout: Layout,
    engines: Mapping[str, Engine],
    symbols: Mapping[str, Any],
    homes: Homes,
    held: Sequence[Context],
) -> NextUses | None:
    """What tells the engines of a query when contexts are read, those too that its app has `held`
    for later; None where no engine asks."""
    asking = {
        name: cast(Expecting, engine)
        for name, engine in engines.items()
        if "next_use" in engine.info.capabilities
    }
    waiting = [context for context in held if homes.of(context) is not None]
    if not asking and not waiting:
        return None
    return NextUses(asking, layout, symbols, homes, waiting)
