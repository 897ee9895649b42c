"""The mutable state of one running copy of a graph: the app's own, or the body of a node."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.base import Context
from graph_opt.graph import Arg, Node, Ref
from graph_opt.ops import OPS, has_effects, may_fail
from runtime.captures import Late
from runtime.errors import QueryError
from runtime.item_streams import GrowingText, ItemStream, Place, whole
from runtime.job import Scheduler
from runtime.layout import ENDED, Layout
from runtime.stops import EVERYTHING, Stops

_GIVES_ON = ("cond", "within")  # what their body returns they return


Through = Callable[[Node, Scheduler], Scheduler]


@dataclass(slots=True, eq=False)
class Body:
    """A graph to run for a node, and who is told how it ends: one of the three, once."""

    layout: Layout
    params: Sequence[Any]
    on_done: Callable[[list[Any]], None]  # gets what it returns
    place: Place = ()  # among the bodies of its node, in program order
    label: str = ""  # in paths: "[2]", "{then}"
    on_error: Callable[[QueryError], None] | None = None  # None: what is around it fails with it
    on_stop: Callable[[], None] | None = None  # it will not end: something in or before it failed
    through: Through | None = None  # where its requests go first: see `runtime.ahead`

    def stopped(self) -> None:
        """Say, once, that it will not end."""
        tell, self.on_stop = self.on_stop, None
        if tell is not None:
            tell()


@dataclass(slots=True, eq=False)
class Above:
    """The node that opened a scope, in its own scope."""

    scope: "Scope"
    node: Node


class Scope:
    """Values by name, streams that are still growing, what runs, and what is still to come.

    Owns the values that its nodes make and drops each after its last reader, releasing contexts.
    Parameters belong to the caller and are never released here.
    """

    def __init__(self, body: Body, above: Above | None = None) -> None:
        layout = self.layout = body.layout
        self.body = body
        self.above = above
        self.path = ""  # of the app's graph; of a body "hits[2]."
        if above is not None:
            self.path = f"{above.scope.path}{above.node.name}{body.label}."
        self.children: dict[Scope, None] = {}  # open bodies of its nodes, in order of opening
        self.running: dict[
            object, tuple[Node, Callable[[], None]]
        ] = {}  # request or timer -> how to cancel
        self.stops: Stops | None = None
        self.values: dict[str, Any] = {}
        self.finish_reasons: dict[str, str] = {}  # value of a decoded text -> why it stopped
        self.uses = dict(layout.uses)
        self.streams: dict[str, ItemStream] = {}
        self._texts: dict[str, GrowingText] = {}
        self._given: set[str] = set()  # values that somebody outside has got already
        self._late: dict[str, Late] = {}  # values that bodies of this scope's nodes wait for
        self._num_checked = 0  # nodes from the first on, see `waits_before`
        self._params = dict(zip(layout.params, body.params, strict=True))
        self.missing: dict[str, Late] = {}  # param -> what it waits for
        for name, value in self._params.items():
            if isinstance(value, Late) and not value.is_there:
                self.missing[name] = value
        start = self._start = None if above is None or self.missing else layout.start
        if start is None:
            self.waits = dict(layout.indegree)
            self.num_unfinished = len(layout.nodes)
            for name in self.missing:
                self.waits[name] += 1
        else:  # of bodies there are many: their inputs end at once
            self.waits = dict(start.waits)
            self.num_unfinished = start.num_unfinished
            for name in start.params:
                self.values[name] = self.param(name)

    def ready_at_start(self) -> Sequence[Node]:
        """The nodes that wait for nothing, in graph order."""
        if self._start is not None:
            return self._start.ready
        return [node for node in self.layout.graph.nodes if not self.waits[node.name]]

    def begin(self, node: Node) -> list[Node]:
        """Open the node's stream, if any is read early; the nodes that this made ready."""
        early = self.layout.early[node.name]
        if early and OPS[node.op].writes_text:
            self._texts[node.name] = GrowingText()
        elif early:
            self.streams[node.name] = ItemStream()
        return self._now_ready(early)

    def finish(self, node: Node, outputs: Sequence[Any]) -> list[Node]:
        """Store a node's outputs; the nodes that became ready, in graph order."""
        for name, value in zip(node.outputs, outputs, strict=True):
            if self.uses[name]:
                self.values[name] = value
            elif name not in self._params:
                release(value)
        return self._end(node)

    def lose(self, node: Node, *, had_begun: bool) -> list[Node]:
        """End a node that gives no outputs; the nodes that became ready, in graph order."""
        early = [] if had_begun else self._now_ready(self.layout.early[node.name])
        return [*early, *self._end(node)]

    def is_body_of(self, node: Node) -> bool:
        """Whether the node opened this scope."""
        return self.above is not None and self.above.node.name == node.name

    def has_ended(self, node: Node) -> bool:
        """Whether the node has finished or is lost."""
        return self.waits[node.name] == ENDED

    def waits_before(self, index: int) -> bool:
        """Whether a node before this one has not ended, and may fail or has effects."""
        nodes = self.layout.graph.nodes
        while self._num_checked < index and not self._matters(nodes[self._num_checked]):
            self._num_checked += 1
        return self._num_checked < index

    @property
    def is_closed(self) -> bool:
        """Whether all of it is stopped."""
        return self.stops is not None and self.stops.index == EVERYTHING

    def is_stopped(self, node: Node) -> bool:
        """Whether the node must neither begin nor end any more."""
        return self.stops is not None and self.stops.has(node.name, self.layout.index[node.name])

    def is_body_stopped(self, node: Node, place: Place) -> bool:
        """Whether the node's body at this place must not go on."""
        if self.stops is None:
            return False
        return self.stops.has_body(node.name, self.layout.index[node.name], place)

    def param(self, name: str) -> Any:
        """The value passed for a parameter."""
        value = self._params[name]
        return value.value if isinstance(value, Late) else value

    def param_came(self, name: str) -> list[Node]:
        """A parameter that was missing is there; the nodes that this made ready."""
        del self.missing[name]
        return self._now_ready((name,))

    def capture(self, arg: Arg) -> Any:
        """What a body takes from this scope: the value if it is there, else a `Late`."""
        if not isinstance(arg, Ref):
            return arg
        if arg.name in self.values:
            return self.values[arg.name]
        return self._late.setdefault(arg.name, Late())

    def awaited(self, node: Node, outputs: Sequence[Any]) -> list[tuple[Late, Any]]:
        """Those outputs of a node that bodies wait for, with what waits; each is given once."""
        if not self._late:
            return []
        made = zip(node.outputs, outputs, strict=True)
        return [(self._late.pop(name), value) for name, value in made if name in self._late]

    def results(self) -> list[Any]:
        """What the graph returns, once every node is finished."""
        return [self.values[name] for name in self.layout.graph.outputs]

    def stream(self, ref: Ref) -> ItemStream:
        """The items of a list: as they come, if its maker gives them so, else all at once."""
        return self.streams.get(ref.name) or whole(self.values[ref.name])

    def out_stream(self, node: Node) -> ItemStream | None:
        """Where the node puts its items, if they are read early."""
        return self.streams.get(node.name)

    def text(self, name: str) -> GrowingText:
        """A decoded text: while it is decoded, or whole."""
        return self._texts.get(name) or GrowingText(self.values[name])

    def growing_text(self, node: Node) -> GrowingText | None:
        """The text that the node writes, if it is read early."""
        return self._texts.get(node.name)

    def give(self, name: str) -> None:
        """A returned value belongs to somebody outside from now on."""
        self._given.add(name)

    def _matters(self, node: Node) -> bool:
        return not self.has_ended(node) and (may_fail(node) or has_effects(node))

    def _end(self, node: Node) -> list[Node]:
        layout, name = self.layout, node.name
        for value in layout.reads[name]:
            self._read(value)
        self.waits[name] = ENDED
        self.num_unfinished -= 1
        return self._now_ready(layout.followers[name])

    def release_all(self) -> None:
        """Drop every value the scope still owns."""
        for name, value in self.values.items():
            if name not in self._params and name not in self._given:
                release(value)
        self.values.clear()

    def _now_ready(self, names: Sequence[str]) -> list[Node]:
        ready = []
        for name in names:
            self.waits[name] -= 1
            if not self.waits[name]:
                ready.append(self.layout.nodes[name])
        return ready

    def _read(self, name: str) -> None:
        self.uses[name] -= 1
        if not self.uses[name]:
            value = self.values.pop(name, None)  # of a stream, the reader may end first
            if name not in self._params:
                release(value)


def arg_value(arg: Arg, values: Mapping[str, Any]) -> Any:
    """The value of one argument: what a reference stands for, or the literal itself."""
    return values[arg.name] if isinstance(arg, Ref) else arg


def release(value: Any) -> None:
    """Give a context's KV back; other values need nothing."""
    type_ = type(value)
    if type_ not in _is_context:  # asked once a type: the check takes as long as a whole node
        _is_context[type_] = isinstance(value, Context)
    if _is_context[type_]:
        value.release()


_is_context: dict[type, bool] = {}


def bind(layout: Layout, inputs: Mapping[str, Any]) -> list[Any]:
    """The app's inputs in the order of the graph's parameters, defaults filled in."""
    return [
        inputs[node.name] if node.name in inputs else node.attrs["default"]
        for node in layout.graph.params
    ]


def given_as(scope: Scope, value: str) -> str | None:
    """The value that the query gives a value as: its own, or that of the tl.cond around it."""
    while value in (names := scope.layout.graph.outputs):
        above = scope.above
        if above is None:
            return value
        if above.node.op not in _GIVES_ON:
            return None
        scope, value = above.scope, above.node.outputs[names.index(value)]
    return None
