"""Traces the segments of an `async def` app: what is issued between two breaks is one graph.

Real values that stand in a call become inputs of the graph, equal ones one input, so that segments
that differ only in their texts and numbers are compiled once. So do values of earlier segments.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from frontend_dsl.leaks import is_mangled_inside
from frontend_dsl.symbols import Symbols
from frontend_dsl.tracer import Tracer
from frontend_dsl.value import Value
from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS


class SegmentTracer(Tracer):
    """Traces one segment; `current` finds the tracer of the segment that is traced now."""

    def __init__(
        self,
        symbols: Symbols,
        place: tuple[str, int],
        names: Mapping[Any, str],
        current: Callable[[], Tracer],
        home: object,
        in_texts: list[Value],
    ) -> None:
        super().__init__(symbols, place=place)
        self._alive = in_texts  # of all segments: a text may be used again after a break
        self.inputs: dict[str, Any] = {}  # param -> a real value, or a Pending one
        self._made: WeakValueDictionary[str, Value] = WeakValueDictionary()
        self._names_of = names  # identity of an argument -> its name
        self._current = current
        self._home_run = home
        self._params: dict[Any, Value] = {}  # by what is behind them
        self._behind: list[Any] = []  # keeps the ids among those keys from being given twice

    @property
    def home(self) -> object:
        return self._home_run

    @property
    def has_work(self) -> bool:
        """Whether anything was issued."""
        return any(node.op != "input" for node in self.nodes)

    def note(self, node: Node, values: Sequence[Value]) -> None:
        if node.op not in ("input", "context", "prefill"):
            kept = values[:1] if OPS[node.op].writes_text else values  # not a decode's context
            for value in kept:
                self.hold(value)

    def hold(self, value: Value) -> None:
        self._made[value._name] = value

    def keep(self, value: Value) -> None:
        current = self._current()  # not this one for a value of an earlier segment
        super().keep(value) if current is self else current.keep(value)

    def own(self, value: Value) -> Value:
        if value._tracer is self:
            return value
        if value._pending is None:
            return super().own(value)
        key = ("pending", value._id)
        if key not in self._params:
            self._add(key, self.param(value._name, value._type), value, value._pending)
        return self._params[key]

    def given(self, value: Any) -> Value | None:
        if is_mangled_inside(value):
            return None  # stays where it is and is refused
        key = identity(value)
        if key not in self._params:
            param = self.param(self._names_of.get(key, "given"), type(value))
            self._add(key, param, value, _copy(value))
        return self._params[key]

    def cut(self, name: str, wanted: Sequence[Value]) -> tuple[Graph, list[Value], dict[str, Any]]:
        """The segment's graph, which returns what is wanted and whatever else the user still
        holds; the values it returns; and its inputs."""
        held = {value._id: value for value in (*self._made.values(), *wanted)}
        values = [held[number] for number in sorted(held)]
        graph = self.graph(name, values)
        inputs, self.inputs = self.inputs, {}
        self._params.clear()
        self._behind.clear()
        return graph, values, inputs

    def _add(self, key: Any, param: Value, behind: Any, real: Any) -> None:
        self._params[key] = param
        self._behind.append(behind)
        self.inputs[param._name] = real


def identity(value: Any) -> Any:
    """Equal for values that are the same to everybody: by content where it cannot change."""
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        items = value.items() if isinstance(value, dict) else value
        return type(value), tuple(map(identity, items))
    if type(value) in (str, bytes, int, bool, type(None)):
        return type(value), value
    return (float, repr(value)) if type(value) is float else (type(value), id(value))


def _copy(value: Any) -> Any:
    """The value as it is now: the app may go on to change its lists and dicts."""
    if type(value) in (list, tuple, set):
        return type(value)(map(_copy, value))
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    return value
