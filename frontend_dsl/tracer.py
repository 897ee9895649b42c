"""Collects the nodes that a traced function makes.

One tracer a graph: the app's own, and one for each map body, whose outer values become captures.
The traced graph is the plain one: each user call comes after the one before it, as the program
text says, and maps run item by item. What of that order is needed is for the passes to find out.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from backends.registry import EngineSpec
from frontend_dsl.components import Component
from frontend_dsl.errors import TraceError
from frontend_dsl.naming import Names
from frontend_dsl.value import Value, has_marks, split_marks, type_name
from frontend_dsl.where import user_frame
from graph_opt.graph import Arg, Graph, Json, Marker, Node, Origin, Ref
from graph_opt.ops import OPS
from graph_opt.verify import is_json

_current: ContextVar["Tracer | None"] = ContextVar("teola_tracer", default=None)


def current() -> "Tracer | None":
    """The tracer of the app being traced in this context, if one is."""
    return _current.get()


def tracing(what: str) -> "Tracer":
    """The current tracer. Raises TraceError outside of an app."""
    tracer = _current.get()
    if tracer is None:
        raise TraceError(f"{what} is called outside of an app; call it in a @tl.app", *user_frame())
    return tracer


class Symbols:
    """What a graph names but does not hold: engines, functions, types. One for a whole app."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.engines: dict[str, EngineSpec] = {}
        self.values: dict[str, Any] = {}
        self._variables = variables  # of the user's module: an engine is named like its variable

    def engine(self, component: Component) -> str:
        """The name under which the graph knows a component's engine."""
        spec = component.spec
        for name, known in self.engines.items():
            if known.key == spec.key:
                return name
        wanted = component.name or self._variable_of(component) or spec.kind
        name = _free_name(wanted, self.engines)
        self.engines[name] = spec
        return name

    def value(self, name: str, value: Any) -> str:
        """The name under which the graph knows a function or a type."""
        while self.values.get(name, value) is not value:
            name = _free_name(name, self.values)
        self.values[name] = value
        return name

    def _variable_of(self, component: Component) -> str | None:
        for name, value in self._variables.items():
            if value is component and not name.startswith("_"):
                return name
        return None


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    if name not in taken:
        return name
    return next(n for i in range(2, 10**6) if (n := f"{name}_{i}") not in taken)


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
        self._names = Names()
        self._calls: Names = outer._calls if outer is not None else Names()
        self._path: tuple[str, ...] = outer._path if outer is not None else ()
        self._place: tuple[str, int] | None = None
        self._alive: list[Value] = []
        self._captures: dict[str, tuple[Value, Value]] = {}  # outer name -> (outer, own param)
        self._last: str | None = None  # the last engine primitive of the call before this one
        self._newest: str | None = None  # the last engine primitive so far

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the current tracer."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Everything emitted inside belongs to one call of the user's."""
        if self._place is not None:  # a component built of components: the outer call counts
            yield
            return
        self._path, outer_path = (*self._path, self._calls.fresh(name)), self._path
        self._place = user_frame()
        self._last = self._newest
        try:
            yield
        finally:
            self._path = outer_path
            self._place = None

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
        body: Graph | None = None,
    ) -> Value:
        """Append a node; its first output."""
        return self.emit_many(op, args, attrs, [hint], [type_], body=body)[0]

    def emit_many(
        self,
        op: str,
        args: Sequence[Any],
        attrs: Mapping[str, Json],
        hints: Sequence[str],
        types: Sequence[Any],
        *,
        body: Graph | None = None,
    ) -> list[Value]:
        """Append a node with several outputs."""
        lowered = tuple(self.lower(arg) for arg in args)
        outputs = tuple(self._names.fresh(hint) for hint in hints)
        is_effective = OPS[op].engine_kind is not None or body is not None
        node = Node(
            outputs=outputs,
            op=op,
            args=lowered,
            attrs=attrs,
            after=self._after(lowered) if is_effective else (),
            body=body,
            origin=self._origin(),
        )
        self.nodes.append(node)
        if is_effective:
            self._last = None  # the rest of this call follows by its values
            self._newest = node.name
        return [Value(self, name, type_) for name, type_ in zip(outputs, types, strict=True)]

    def emit_get(self, value: Value, key: str | int, type_: Any) -> Value:
        """A field or an item of a value."""
        with self.call(f"get_{key}" if isinstance(key, int) else key):
            return self.emit("get", (value,), {"path": [key]}, str(key), type_)

    def keep(self, value: Value) -> None:
        """Hold a value whose marker is in some string, so that the marker stays readable."""
        self._alive.append(value)

    def lower(self, arg: Any) -> Arg:
        """What stands in a node for an argument: a reference, or the constant itself."""
        if isinstance(arg, Value):
            return Ref(self.own(arg)._name)
        if has_marks(arg):
            pieces = split_marks(arg)
            return Ref(self.emit("format", pieces, {}, "text", str)._name)
        if isinstance(arg, (list, tuple)) and any(_is_symbolic(item) for item in arg):
            return Ref(self.emit("pack", arg, {}, "list", list)._name)
        if isinstance(arg, dict) and any(_is_symbolic(item) for item in arg.values()):
            keys: list[Json] = [str(key) for key in arg]
            return Ref(self.emit("pack", list(arg.values()), {"keys": keys}, "dict", dict)._name)
        if isinstance(arg, tuple):
            return self.lower(list(arg))
        if isinstance(arg, Marker) or is_json(arg):
            return cast(Arg, arg)
        return Ref(self._constant(arg)._name)

    def own(self, value: Value) -> Value:
        """This graph's own name for a value: itself, or the capture of an outer one."""
        if value._tracer is self:
            return value
        if self.outer is None:
            raise TraceError(
                f"{value!r} comes from another trace; pass it in as an argument", *user_frame()
            )
        outer = self.outer.own(value)
        if outer._name not in self._captures:
            param = Value(self, self._names.fresh(outer._name), outer._type)
            self._captures[outer._name] = (outer, param)
        return self._captures[outer._name][1]

    def captures(self) -> list[Value]:
        """The outer values that this body reads, in order of first use."""
        return [outer for outer, _ in self._captures.values()]

    def graph(self, name: str, outputs: Sequence[Value]) -> Graph:
        """The finished graph; a body's captures become its last parameters."""
        returned = tuple(self.own(value)._name for value in outputs)
        num_params = next((i for i, n in enumerate(self.nodes) if n.op != "input"), len(self.nodes))
        captured = [
            Node((param._name,), "input", attrs={"type": _param_type(param)})
            for _, param in self._captures.values()
        ]
        nodes = (*self.nodes[:num_params], *captured, *self.nodes[num_params:])
        return Graph(name=name, nodes=nodes, outputs=returned)

    def trace_body(
        self, name: str, function: Callable[..., Any], item_type: Any
    ) -> tuple[Graph, list[Value], Any]:
        """A map body from a function of one item: the graph, what it captures, its result type."""
        body = Tracer(self.symbols, outer=self)
        item = body.param(_first_parameter(function), item_type)
        with body.active():
            result = body.lift(function(item))
        return body.graph(name, [result]), body.captures(), result._type

    def lift(self, result: Any) -> Value:
        """What a traced function returned, as one value."""
        if isinstance(result, Value):
            return result
        lowered = self.lower(result)
        if isinstance(lowered, Ref):
            return Value(self, lowered.name, type(result))
        value = cast(Json, lowered)
        return self.emit("const", (), {"value": value}, "const", type(result))

    def _constant(self, value: Any) -> Value:
        """A constant that JSON cannot say: the graph holds its name, the symbols hold it."""
        name = self.symbols.value(f"{type(value).__name__}.constant", value)
        return self.emit("const", (), {"value": name, "symbol": True}, "const", type(value))

    def _after(self, args: Sequence[Arg]) -> tuple[str, ...]:
        if self._last is None:
            return ()
        produced = next(node for node in self.nodes if node.name == self._last).outputs
        is_read = any(isinstance(arg, Ref) and arg.name in produced for arg in args)
        return () if is_read else (self._last,)

    def _origin(self) -> Origin:
        file, line = self._place or self._home or user_frame()
        return Origin("/".join(self._path), file, line)


def _first_parameter(function: Callable[..., Any]) -> str:
    try:
        return next(iter(inspect.signature(function).parameters), "item")
    except (TypeError, ValueError):  # some built-in functions have no signature
        return "item"


def _is_symbolic(value: object) -> bool:
    return isinstance(value, Value) or has_marks(value)


def _param_type(value: Value) -> str:
    return type_name(value._type)
