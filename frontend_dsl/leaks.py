"""Finds values of the run, and pieces of their markers, in what must be constant."""

from collections.abc import Mapping, Sequence, Set, ValuesView
from types import FunctionType, ModuleType

from frontend_dsl.errors import SymbolicError
from frontend_dsl.marked_texts import has_marks, is_mangled, is_symbolic
from frontend_dsl.value import Value
from frontend_dsl.where import user_frame
from graph_opt.graph import Arg, Json


def check_known(op: str, args: Sequence[Arg], attrs: Mapping[str, Json]) -> None:
    """Raise SymbolicError where a run-time value would stand for a constant, or is in pieces."""
    for name, value in attrs.items():
        if is_symbolic(value) or is_mangled_inside(value):
            raise SymbolicError(
                f"{name}= of {op} must be known now, and here it holds a value of the run; filter "
                "or format in a tl.tool, or let an argument of type int or bool specialise the app",
                *user_frame(),
            )
    if any(map(is_mangled_inside, args)):
        raise _mangled()


def _mangled() -> SymbolicError:
    """What is raised for a text that no longer holds its values whole."""
    return SymbolicError(
        "a text that holds values of the run was changed as text (cut, replaced, upper-cased, "
        "escaped, shown with !r ...), which only its real words can be; do it in a tl.tool, or "
        "make the app `async def` and `await tl.value(...)`",
        *user_frame(),
    )


def is_mangled_inside(value: object) -> bool:
    """Whether a constant holds what is left of a symbolic value's marker."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(map(is_mangled_inside, value))
    if isinstance(value, dict):
        return any(map(is_mangled_inside, (*value, *value.values())))
    return is_mangled(value)


_MOST_LOOKED_AT = 10_000


def check_no_symbol_inside(value: object) -> None:
    """Raise SymbolicError if an object holds a symbolic value, or a text with one, at any depth."""
    waiting: list[tuple[str, object]] = [(type(value).__name__, value)]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_LOOKED_AT:
        path, one = waiting.pop()
        if isinstance(one, Value) or has_marks(one):
            raise SymbolicError(
                f"{path} holds a value of the run; use that value itself, or make the object in a "
                "tl.tool",
                *user_frame(),
            )
        if is_mangled(one):
            raise _mangled()
        if id(one) not in seen:
            seen.add(id(one))
            waiting += _parts(path, one)


def _parts(path: str, value: object) -> list[tuple[str, object]]:
    """What an object is made of: items of collections, fields of others; nothing of classes."""
    if isinstance(value, (str, bytes, int, float, type, ModuleType, FunctionType)):
        return []
    if isinstance(value, Mapping):
        return [(f"{path}[...]", part) for pair in value.items() for part in pair]
    if isinstance(value, (Sequence, Set, ValuesView)):
        return [(f"{path}[...]", part) for part in value]
    return [(f"{path}.{name}", part) for name, part in _fields(value)]


def _fields(value: object) -> list[tuple[str, object]]:
    slots = [name for kind in type(value).__mro__ for name in _names(kind)]
    in_slots = [(name, getattr(value, name, None)) for name in slots if name != "__dict__"]
    return [*getattr(value, "__dict__", {}).items(), *in_slots]


def _names(kind: type) -> Sequence[str]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
