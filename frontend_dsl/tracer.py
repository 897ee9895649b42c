"""Collects the nodes that a traced function makes.

One tracer a graph: the app's own, and one for each map body, whose outer values become captures.
The traced graph is the plain one: each user call comes after the one before it, as the program
text says, and maps run item by item. Passes remove the ordering edges that no effect requires.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, cast

from backends.registry import EngineSpec
from frontend_dsl.components import Component
from frontend_dsl.declared_types import is_list, type_name
from frontend_dsl.element_types import element_type, path_in_text
from frontend_dsl.errors import SymbolicError, TraceError
from frontend_dsl.late_calls import LateCalls, standing_for
from frontend_dsl.leaks import check_known
from frontend_dsl.lowering import iterable, lower
from frontend_dsl.marked_texts import is_symbolic
from frontend_dsl.naming import Names
from frontend_dsl.symbols import Symbols, replacing_nothing
from frontend_dsl.template import is_t_string, rendered
from frontend_dsl.user_calls import UserCalls
from frontend_dsl.value import Value, current_tracer, type_of
from frontend_dsl.where import user_frame
from graph_opt.graph import Arg, Graph, Json, Marker, Node, Ref
from graph_opt.ops import OPS

MAX_PRIMITIVES = 20_000  # of a graph with its bodies: seconds of tracing, up to a minute of passes
_TOO_LARGE = (
    f"the graph has more than {MAX_PRIMITIVES} primitives here: a loop of Python's is unrolled. "
    "Use tl.map for the items of a list and tl.loop for repetition, whose body is traced once, "
    "or make the app `async def` and await tl.value(...) inside the loop"
)


def current() -> "Tracer | None":
    """The tracer of the app being traced in this context, if one is."""
    find = current_tracer.get()
    return None if find is None else find()


@contextmanager
def tracing_with(find: "Callable[[], Tracer]") -> Iterator[None]:
    """Make what `find` gives the current tracer."""
    token = current_tracer.set(find)
    try:
        yield
    finally:
        current_tracer.reset(token)


@contextmanager
def untraced() -> Iterator[None]:
    """For code that a run calls: it is in no app that is traced."""
    token = current_tracer.set(None)
    try:
        with replacing_nothing():
            yield
    finally:
        current_tracer.reset(token)


def tracing(what: str) -> "Tracer":
    """The current tracer. Raises TraceError outside of an app."""
    tracer = current()
    if tracer is None:
        raise TraceError(f"{what} is called outside of an app; call it in a @tl.app", *user_frame())
    return tracer


class Tracer:
    """Makes the nodes of one graph, and keeps the values alive whose markers stand in texts."""

    def __init__(
        self,
        symbols: Symbols,
        outer: "Tracer | None" = None,
        place: tuple[str, int] | None = None,
    ) -> None:
        self.symbols = symbols
        self.outer = outer
        self._calls: UserCalls = UserCalls(place, outer._calls if outer is not None else None)
        self.nodes: list[Node] = []
        self._size: Iterator[int] = outer._size if outer is not None else count(1)
        self._names = Names()
        self._alive: list[Value] = []
        self._misuses: list[SymbolicError] = []
        self.late_calls = LateCalls()
        self._captures: dict[str, tuple[Value, Value]] = {}  # outer name -> (outer, own param)

    def misuse(self, error: SymbolicError) -> None:
        """A value is used as if it were known; the user's code may catch that as a ValueError."""
        if self.outer is not None:
            self.outer.misuse(error)
        else:
            self._misuses.append(error)

    def check_no_misuse(self) -> None:
        """Raise the first misuse, which the user's code caught."""
        if self._misuses:
            raise self._misuses[0]

    @property
    def home(self) -> object:
        """The same for what is traced in one body: an app, or the function of a map."""
        return self

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the current tracer."""
        with tracing_with(lambda: self):
            yield

    def call(self, name: str, place: tuple[str, int] | None = None) -> AbstractContextManager[None]:
        """Everything emitted inside belongs to one call of the user's, made here or at `place`."""
        return self._calls.call(name, place)

    def inside(self) -> AbstractContextManager[None]:
        """Calls made here are calls of their own again, inside the call around them."""
        return self._calls.inside()

    def writing(self, variable: str) -> AbstractContextManager[None]:
        """What is emitted inside writes a variable of a program."""
        return self._calls.writing(variable)

    def around(self) -> "Iterator[Tracer]":
        """This tracer and those of the bodies and the app around it."""
        tracer: Tracer | None = self
        while tracer is not None:
            yield tracer
            tracer = tracer.outer

    def param(self, name: str, type_: Any, **attrs: Json) -> Value:
        """A parameter of the graph."""
        return self.emit("input", (), {"type": type_name(type_), **attrs}, name, type_)

    def emit(
        self,
        op: str,
        args: Sequence[Any],
        attrs: Mapping[str, Json],
        hint: str,
        type_: Any,
        *,
        bodies: tuple[Graph, ...] = (),
    ) -> Value:
        """Append a node; its first output."""
        return self.emit_many(op, args, attrs, [hint], [type_], bodies=bodies)[0]

    def emit_many(
        self,
        op: str,
        args: Sequence[Any],
        attrs: Mapping[str, Json],
        hints: Sequence[str],
        types: Sequence[Any],
        *,
        bodies: tuple[Graph, ...] = (),
    ) -> list[Value]:
        """Append a node with several outputs."""
        if next(self._size) > MAX_PRIMITIVES:
            raise TraceError(_TOO_LARGE, *self._calls.place)
        is_prompt = OPS[op].engine_kind == "llm"  # its words are the prompt's own
        lowered = tuple(lower(self, arg) if is_prompt else self._argument(arg) for arg in args)
        check_known(op, lowered, attrs)
        outputs = tuple(self._names.fresh(hint) for hint in hints)
        is_effective = OPS[op].engine_kind is not None or bool(bodies)
        node = Node(
            outputs=outputs,
            op=op,
            args=lowered,
            attrs=attrs,
            after=self._calls.after(lowered) if is_effective else (),
            bodies=bodies,
            origin=self._calls.origin(),
        )
        self.nodes.append(node)
        if is_effective:
            self._calls.add(node)
        values = [Value(self, name, type_) for name, type_ in zip(outputs, types, strict=True)]
        self.note(node, values)
        return values

    def note(self, node: Node, values: Sequence[Value]) -> None:
        """Called with each node and its values; a tracer of segments remembers them."""

    def hold(self, value: Value) -> None:
        """Somebody may use this value later, which `note` passed over."""

    def spec(self, component: Component) -> Value:
        """The spec of a component's engine: in each run, of the engine that it runs on."""
        name = self.symbols.spec(component)
        return self.emit("const", (), {"value": name, "symbol": True}, name, EngineSpec)

    def add_spec(self, node: Node, component: Component, attrs: Mapping[str, Json]) -> None:
        """Give a traced call one more argument: the spec of the engine of a component."""
        spec = self.spec(component)
        const = self.nodes.pop()
        changed = replace(node, args=(*node.args, Ref(spec._name)), attrs=attrs)
        at = self.nodes.index(node)
        self.nodes[at : at + 1] = [const, changed]

    def emit_get(self, value: Value, key: str | int, type_: Any) -> Value:
        """A field or an item of a value."""
        attrs: dict[str, Json] = {"path": [key]}
        if is_list(type_):  # so that its items may flow on while it is decoded
            attrs |= {"list": True, **self._items_of(value, key)}
        with self.call(f"get_{key}" if isinstance(key, int) else key):
            hint = key if isinstance(key, str) else f"{value._name}.{key}"
            return self.emit("get", (value,), attrs, hint, type_)

    def _items_of(self, value: Value, key: str | int) -> dict[str, Json]:
        found = path_in_text(self.nodes, value._name) if value._tracer is self else None
        return {} if found is None else self.items_attr(found[0], [*found[1], key])

    def items_attr(self, type_symbol: str, path: Sequence[Json]) -> dict[str, Json]:
        """How items of the list there in a text of this type are read alone, if they can be."""
        items = element_type(self.symbols.values[type_symbol], tuple(path))
        if items is None:
            return {}
        name = ".".join([type_symbol, *map(str, path)]) + "[]"
        return {"items": self.symbols.value(name, items)}

    def emit_slice(self, value: Value, key: slice, type_: Any) -> Value:
        """A part of a list or of a text, between bounds that are known now."""
        bounds = {"start": key.start, "stop": key.stop, "step": key.step}
        known = {name: bound for name, bound in bounds.items() if bound is not None}
        with self.call("slice"):
            return self.emit("apply", (value,), {"fn": "slice", **known}, "slice", type_)

    def emit_strip(self, value: Value, side: str) -> Value:
        """The text of a value without white space at its ends, or at one of them."""
        with self.call("strip"):
            text = value if value._type is str else self.emit("format", (value,), {}, "text", str)
            return self.emit("apply", (text,), {"fn": "strip", "side": side}, "strip", str)

    def keep(self, value: Value) -> None:
        """Hold a value whose marker is in some string, so that the marker stays readable."""
        self._alive.append(value)

    def own(self, value: Value) -> Value:
        """This graph's own name for a value: itself, or the capture of an outer one."""
        if value._tracer is self:
            return value
        if value._tracer is None:
            return self.own(standing_for(value, self.lift))
        if self.outer is None:
            raise TraceError(
                f"{value!r} comes from another trace, or from inside a tl.map, tl.cond or tl.loop "
                "that is over; pass it in as an argument, or return it from there",
                *user_frame(),
            )
        outer = self.outer.own(value)
        if outer._name not in self._captures:
            param = Value(self, self._names.fresh(outer._name), outer._type)
            self._captures[outer._name] = (outer, param)
        return self._captures[outer._name][1]

    def captures(self) -> list[Value]:
        """The outer values that this body reads, in order of first use."""
        return [outer for outer, _ in self._captures.values()]

    def graph(
        self, name: str, outputs: Sequence[Value], captured: Sequence[Value] | None = None
    ) -> Graph:
        """The finished graph. The captures (or `captured`, which holds them all) become its last
        parameters."""
        returned = tuple(self.own(value)._name for value in outputs)
        for value in captured or ():
            self.own(value)
        order = self.captures() if captured is None else captured
        params = [self._captures[self._outer_name(value)][1] for value in order]
        first = next((i for i, n in enumerate(self.nodes) if n.op != "input"), len(self.nodes))
        inputs = [
            Node((param._name,), "input", attrs={"type": type_name(param._type)})
            for param in params
        ]
        nodes = (*self.nodes[:first], *inputs, *self.nodes[first:])
        return Graph(name=name, nodes=nodes, outputs=returned)

    def _outer_name(self, value: Value) -> str:
        assert self.outer is not None, "only a body has captures"
        return self.outer.own(value)._name

    def lift(self, result: Any) -> Value:
        """What a traced function returned, as one value."""
        if isinstance(result, Value):
            return result
        result = rendered(result) if is_t_string(result) else result
        lowered = self._argument(result)
        if isinstance(lowered, Ref):
            return Value(self, lowered.name, type_of(result))
        value = cast(Json, lowered)
        return self.emit("const", (), {"value": value}, "const", type_of(result))

    def items(self, given: Any, what: str) -> Value:
        """What is iterated over, as one value."""
        return self.lift(iterable(given, what))

    def given(self, value: Any) -> Value | None:
        """A real value as an input of the graph, where graphs take those; else None."""
        outer = None if self.outer is None else self.outer.given(value)
        return None if outer is None else self.own(outer)

    def _argument(self, arg: Any) -> Arg:
        """Like `lower`, but a real value may become an input. What is None or a bool stays, since
        a node may mean something else by it."""
        arg = rendered(arg) if is_t_string(arg) else arg
        is_structure = arg is None or isinstance(arg, (bool, Marker)) or is_symbolic(arg)
        given = None if is_structure else self.given(arg)
        return lower(self, arg) if given is None else Ref(given._name)
