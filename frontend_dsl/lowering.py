"""What stands in a node for an argument of a call: a constant, or a reference to a value.

Texts with markers become `format` nodes, lists and dicts that hold values are packed in each run,
and a constant that JSON cannot say is named by the graph and held by its symbols.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import CoroutineType, GeneratorType
from typing import Any, Protocol, cast

from frontend_dsl.errors import TraceError
from frontend_dsl.leaks import check_no_symbol_inside
from frontend_dsl.marked_texts import has_marks, is_symbolic, split_marks
from frontend_dsl.symbols import Symbols
from frontend_dsl.value import Handle, Value, type_of
from frontend_dsl.where import user_frame
from graph_opt.graph import Arg, Json, Marker, Ref
from graph_opt.verify import is_json

_REBUILT = (list, tuple, dict, set, frozenset)
_USED_UP = (GeneratorType, map, filter, zip, enumerate, reversed)


class GraphWriter(Protocol):
    """The graph that an argument is lowered into."""

    symbols: Symbols

    def emit(
        self, op: str, args: Sequence[Any], attrs: Mapping[str, Json], hint: str, type_: Any
    ) -> Value: ...

    def own(self, value: Value) -> Value: ...


def lower(writer: GraphWriter, arg: Any) -> Arg:
    """What stands in a node for an argument: a reference, or the constant itself."""
    if isinstance(arg, Value):
        return Ref(writer.own(arg)._name)
    if isinstance(arg, Handle) and is_symbolic(arg):
        return Ref(writer.own(arg.lower(writer))._name)
    if has_marks(arg):
        pieces = split_marks(arg)
        return Ref(writer.emit("format", pieces, {}, "text", str)._name)
    if type(arg) in _REBUILT and is_symbolic(arg):
        return Ref(_rebuilt(writer, arg)._name)
    if type(arg) is tuple and is_json(list(arg)):
        return Ref(_rebuilt(writer, arg)._name)
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
    return Ref(_constant(writer, arg)._name)


def _rebuilt(writer: GraphWriter, arg: Any) -> Value:
    """A list, tuple, dict or set, made anew in each run."""
    if isinstance(arg, dict):
        keys = list(arg)
        if not is_symbolic(keys) and all(is_json(key) for key in keys):
            return writer.emit("pack", list(arg.values()), {"keys": keys}, "dict", dict)
        return writer.emit("apply", (keys, list(arg.values())), {"fn": "dict"}, "dict", dict)
    kind = type(arg).__name__
    type_ = type_of(arg)
    if isinstance(arg, (set, frozenset)):
        return writer.emit("apply", (list(arg),), {"fn": kind}, kind, type_)
    attrs: dict[str, Json] = {"kind": kind} if kind == "tuple" else {}
    return writer.emit("pack", list(arg), attrs, kind, type_)


def _constant(writer: GraphWriter, value: Any) -> Value:
    """A constant that JSON cannot say: the graph holds its name, the symbols hold it."""
    check_no_symbol_inside(value)
    if (misplaced := getattr(type(value), "misplaced_in_app", None)) is not None:
        raise TraceError(misplaced, *user_frame())
    name = writer.symbols.value(f"{type(value).__name__}.constant", value)
    return writer.emit("const", (), {"value": name, "symbol": True}, "const", type(value))


def iterable(given: Any, what: str) -> Any:
    """A symbolic list as it is, else a list of all items. Raises TraceError if there are none."""
    if isinstance(given, Value) or has_marks(given):
        return given
    if not isinstance(given, Iterable):
        problem = f"{what} takes a list or another iterable, not {given!r}"
        raise TraceError(problem, *user_frame())
    return list(given)


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
