"""Collects the nodes that a traced function makes.

One tracer a graph: the app's own, and one for each map body, whose outer values become captures.
The traced graph is the plain one: each user call comes after the one before it, as the program
text says, and maps run item by item. What of that order is needed is for the passes to find out.
"""

import inspect
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from types import CoroutineType, GeneratorType
from typing import Any, cast

from backends.registry import EngineSpec
from frontend_dsl.components import Component
from frontend_dsl.element_types import element_type, path_in_text
from frontend_dsl.errors import SymbolicError, TraceError
from frontend_dsl.late_calls import LateCalls, standing_for
from frontend_dsl.leaks import check_known, check_no_symbol_inside
from frontend_dsl.naming import Names
from frontend_dsl.source_check import check_source
from frontend_dsl.source_rules import Kind
from frontend_dsl.symbols import Symbols, replacing_nothing
from frontend_dsl.template import is_t_string, rendered
from frontend_dsl.value import (
    Handle,
    Value,
    current_tracer,
    has_marks,
    is_list,
    is_symbolic,
    split_marks,
    type_name,
    type_of,
)
from frontend_dsl.where import user_frame, user_place
from graph_opt.graph import Arg, Graph, Json, Marker, Node, Origin, Ref
from graph_opt.ops import OPS
from graph_opt.verify import is_json

MAX_PRIMITIVES = 20_000  # of a graph with its bodies: seconds of tracing, up to a minute of passes
_REBUILT = (list, tuple, dict, set, frozenset)
_TOO_LARGE = (
    f"the graph has more than {MAX_PRIMITIVES} primitives here: a loop of Python's is unrolled. "
    "Use tl.map for the items of a list and tl.loop for repetition, whose body is traced once, "
    "or make the app `async def` and await tl.value(...) inside the loop"
)
_USED_UP = (GeneratorType, map, filter, zip, enumerate, reversed)


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
    """Makes nodes; knows the call it is in, the call before, and the values it must keep alive."""

    def __init__(
        self,
        symbols: Symbols,
        outer: "Tracer | None" = None,
        place: tuple[str, int] | None = None,
    ) -> None:
        self.symbols = symbols
        self._home = place  # file and line of the traced function itself
        self.outer = outer
        self.nodes: list[Node] = []
        self._size: Iterator[int] = outer._size if outer is not None else count(1)
        self._names = Names()
        self._calls: Names = outer._calls if outer is not None else Names()
        self._path: tuple[str, ...] = outer._path if outer is not None else ()
        self._place: tuple[str, int] | None = None
        self._variable = ""  # of a program, that is written now
        self._alive: list[Value] = []
        self._misuses: list[SymbolicError] = []
        self.late_calls = LateCalls()
        self._captures: dict[str, tuple[Value, Value]] = {}  # outer name -> (outer, own param)
        self._last: Node | None = None  # the last engine primitive of the call before this one
        self._newest: Node | None = None  # the last engine primitive so far

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

    @contextmanager
    def call(self, name: str, place: tuple[str, int] | None = None) -> Iterator[None]:
        """Everything emitted inside belongs to one call of the user's, made here or at `place`."""
        if self._place is not None:  # a component built of components: the outer call counts
            yield
            return
        self._path, outer_path = (*self._path, self._calls.fresh(name)), self._path
        self._place = place or user_place() or self._home or user_frame()
        self._last = self._newest
        try:
            yield
        finally:
            self._path = outer_path
            self._place = None

    @contextmanager
    def writing(self, variable: str) -> Iterator[None]:
        """What is emitted inside writes a variable of a program."""
        self._variable = variable
        try:
            yield
        finally:
            self._variable = ""

    def around(self) -> "Iterator[Tracer]":
        """This tracer and those of the bodies and the app around it."""
        tracer: Tracer | None = self
        while tracer is not None:
            yield tracer
            tracer = tracer.outer

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Calls made here are calls of their own again, inside the call around them."""
        place, self._place = self._place, None
        try:
            yield
        finally:
            self._place = place

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
            raise TraceError(_TOO_LARGE, *(self._place or user_frame()))
        is_prompt = OPS[op].engine_kind == "llm"  # its words are the prompt's own
        lowered = tuple(self.lower(arg) if is_prompt else self._argument(arg) for arg in args)
        check_known(op, lowered, attrs)
        outputs = tuple(self._names.fresh(hint) for hint in hints)
        is_effective = OPS[op].engine_kind is not None or bool(bodies)
        node = Node(
            outputs=outputs,
            op=op,
            args=lowered,
            attrs=attrs,
            after=self._after(lowered) if is_effective else (),
            bodies=bodies,
            origin=self._origin(),
        )
        self.nodes.append(node)
        if is_effective:
            self._last = None  # the rest of this call follows by its values
            self._newest = node
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

    def lower(self, arg: Any) -> Arg:
        """What stands in a node for an argument: a reference, or the constant itself."""
        if isinstance(arg, Value):
            return Ref(self.own(arg)._name)
        if isinstance(arg, Handle) and is_symbolic(arg):
            return Ref(self.own(arg.lower(self))._name)
        if has_marks(arg):
            pieces = split_marks(arg)
            return Ref(self.emit("format", pieces, {}, "text", str)._name)
        if type(arg) in _REBUILT and is_symbolic(arg):
            return Ref(self._rebuilt(arg)._name)
        if type(arg) is tuple and is_json(list(arg)):
            return Ref(self._rebuilt(arg)._name)
        if isinstance(arg, _USED_UP):
            raise TraceError(
                f"a {type(arg).__name__} gives its items only once, and a graph runs often; "
                "write list(...)",
                *user_frame(),
            )
        if isinstance(arg, CoroutineType):
            arg.close()
            raise TraceError(_of_coroutine(arg.__name__), *user_frame())
        if isinstance(arg, Marker) or is_json(arg):
            return cast(Arg, arg)
        return Ref(self.constant(arg)._name)

    def _rebuilt(self, arg: Any) -> Value:
        """A list, tuple, dict or set, made anew in each run."""
        if isinstance(arg, dict):
            keys = list(arg)
            if not is_symbolic(keys) and all(is_json(key) for key in keys):
                return self.emit("pack", list(arg.values()), {"keys": keys}, "dict", dict)
            return self.emit("apply", (keys, list(arg.values())), {"fn": "dict"}, "dict", dict)
        kind = type(arg).__name__
        type_ = type_of(arg)
        if isinstance(arg, (set, frozenset)):
            return self.emit("apply", (list(arg),), {"fn": kind}, kind, type_)
        attrs: dict[str, Json] = {"kind": kind} if kind == "tuple" else {}
        return self.emit("pack", list(arg), attrs, kind, type_)

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

    def trace_body(
        self, function: Callable[..., Any], types: Sequence[Any], num_results: int = 1
    ) -> "TracedBody":
        """The body that a function of so many symbolic arguments makes."""
        body = Tracer(self.symbols, outer=self)
        names = _parameter_names(function)
        params = [
            body.param(names[i] if i < len(names) else "item", type_)
            for i, type_ in enumerate(types)
        ]
        check_source(function, dict.fromkeys(names[: len(params)], Kind.VALUE))
        with body.active():
            returned = function(*params)
            body.late_calls.finish()
            results = returned if num_results > 1 else (returned,)
            if not isinstance(results, tuple) or len(results) != num_results:
                problem = f"this function must return {num_results} values, not {returned!r}"
                raise TraceError(problem, *user_frame())
            return TracedBody(body, [body.own(body.lift(result)) for result in results])

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
        return self.lower(arg) if given is None else Ref(given._name)

    def constant(self, value: Any) -> Value:
        """A constant that JSON cannot say: the graph holds its name, the symbols hold it."""
        check_no_symbol_inside(value)
        if (misplaced := getattr(type(value), "misplaced_in_app", None)) is not None:
            raise TraceError(misplaced, *user_frame())
        name = self.symbols.value(f"{type(value).__name__}.constant", value)
        return self.emit("const", (), {"value": name, "symbol": True}, "const", type(value))

    def _after(self, args: Sequence[Arg]) -> tuple[str, ...]:
        if self._last is None:
            return ()
        is_read = any(isinstance(arg, Ref) and arg.name in self._last.outputs for arg in args)
        return () if is_read else (self._last.name,)

    def _origin(self) -> Origin:
        file, line = self._place or self._home or user_frame()
        return Origin("/".join(self._path), file, line, self._variable)


@dataclass(frozen=True, slots=True)
class TracedBody:
    """A body that is traced, before its captures are settled."""

    tracer: Tracer
    results: list[Value]

    def graph(self, captured: Sequence[Value] | None = None) -> Graph:
        """The body as a graph; bodies of one node must agree on what is captured."""
        return self.tracer.graph("body", self.results, captured)


def _of_coroutine(name: str) -> str:
    match name:
        case "value":
            return (
                "tl.value() is for `async def` apps: write `async def`, and `await tl.value(...)`"
            )
        case "arun":
            return ".arun() starts a run of its own: inside an app call the app itself, app(...)"
    return (
        f"{name}() is `async def` and gives a coroutine, which no graph awaits; tl.map, tl.cond, "
        "tl.loop and `def` apps take plain functions"
    )


def iterable(given: Any, what: str) -> Any:
    """A symbolic list as it is, else a list of all items. Raises TraceError if there are none."""
    if isinstance(given, Value) or has_marks(given):
        return given
    if not isinstance(given, Iterable):
        problem = f"{what} takes a list or another iterable, not {given!r}"
        raise TraceError(problem, *user_frame())
    return list(given)


def _parameter_names(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return []
