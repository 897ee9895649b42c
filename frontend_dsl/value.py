"""The symbolic value: stands for what a primitive will produce while an app is traced.

Inside an f-string it leaves a marker, so a prompt becomes parts and holes; reading a field of a
declared model makes a `get` node. Anything that needs the real value raises, with the ways out.
"""

import re
import types
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints
from weakref import WeakValueDictionary

from frontend_dsl.errors import SymbolicError
from frontend_dsl.where import user_frame

T = TypeVar("T")

_MARK = re.compile("\ue000teola:(\\d+)\ue001")
_ids = count(1)
_values: "WeakValueDictionary[int, Value]" = WeakValueDictionary()

WAYS_OUT = "it is known only when the app runs; "


class Value:
    """A value of `type` that node output `name` of `tracer`'s graph will produce."""

    __slots__ = ("__weakref__", "_id", "_name", "_tracer", "_type")

    def __init__(self, tracer: Any, name: str, type_: Any) -> None:
        self._tracer = tracer
        self._name = name
        self._type = type_
        self._id = next(_ids)
        _values[self._id] = self

    def __format__(self, spec: str) -> str:
        if spec:
            self._misuse(f"format spec {spec!r} on %{self._name}", "format it in a tl.tool")
        self._tracer.keep(self)
        return f"\ue000teola:{self._id}\ue001"

    def __str__(self) -> str:
        return self.__format__("")

    def __repr__(self) -> str:
        return f"<symbolic %{self._name}: {type_name(self._type)}>"

    def __getattr__(self, name: str) -> "Value":
        if name.startswith("__"):
            raise AttributeError(name)
        field_type = field_of(self._type, name)
        if field_type is None:
            self._misuse(
                f"{type_name(self._type)} %{self._name} has no field {name!r}",
                "declare a model as its type, or compute it in a tl.tool",
            )
        value: Value = self._tracer.emit_get(self, name, field_type)
        return value

    def __getitem__(self, key: Any) -> "Value":
        if not isinstance(key, (int, str)) or isinstance(key, bool):
            self._misuse(f"%{self._name}[{key!r}]", "index it with a constant, or use a tl.tool")
        value: Value = self._tracer.emit_get(self, key, item_of(self._type))
        return value

    def _misuse(self, what: str, instead: str) -> NoReturn:
        file, line = user_frame()
        raise SymbolicError(f"{what}: {WAYS_OUT}{instead}", file, line)

    def __bool__(self) -> NoReturn:
        self._misuse(
            f"%{self._name} is tested as a condition",
            "decide in a tl.tool, or by an argument of type bool or int, which specialises the app",
        )

    def __iter__(self) -> Iterator[Any]:
        self._misuse(f"%{self._name} is iterated over", "use tl.map(function, values)")

    def __len__(self) -> NoReturn:
        self._misuse(f"len() of %{self._name}", "count it in a tl.tool")

    def __contains__(self, item: object) -> NoReturn:
        self._misuse(f"'in' on %{self._name}", "test it in a tl.tool")

    def __add__(self, other: object) -> NoReturn:
        self._misuse(f"'+' on %{self._name}", "write an f-string, or use tl.flatten for lists")

    __radd__ = __add__

    def __eq__(self, other: object) -> NoReturn:
        self._misuse(f"%{self._name} is compared", "compare it in a tl.tool")

    __lt__ = __le__ = __gt__ = __ge__ = __ne__ = __eq__

    def __int__(self) -> NoReturn:
        self._misuse(f"%{self._name} is turned into a number", "do it in a tl.tool")

    __float__ = __index__ = __int__

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:  # noqa: ARG002
        self._misuse(f"%{self._name} is called", "call it in a tl.tool")

    def __hash__(self) -> int:
        return self._id


def split_marks(text: str) -> list["str | Value"]:
    """The text between markers and the values the markers stand for, in order, no empty text."""
    pieces: list[str | Value] = []
    end = 0
    for mark in _MARK.finditer(text):
        value = _values.get(int(mark[1]))
        if value is None:  # the user's own text happens to look like a marker
            continue
        pieces += [text[end : mark.start()]] if mark.start() > end else []
        pieces.append(value)
        end = mark.end()
    return [*pieces, text[end:]] if end < len(text) else pieces


def has_marks(value: object) -> bool:
    """Whether a string holds the marker of a symbolic value."""
    return isinstance(value, str) and any(isinstance(p, Value) for p in split_marks(value))


def type_name(type_: Any) -> str:
    """How a type reads in a graph: `str`, `list[Doc]`, `Queries`."""
    if type_ is None or type_ is type(None):
        return "None"
    if get_origin(type_) in (Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in get_args(type_))
    if get_origin(type_) is not None:
        origin = getattr(get_origin(type_), "__name__", str(get_origin(type_)))
        args = ", ".join("..." if arg is ... else type_name(arg) for arg in get_args(type_))
        return f"{origin}[{args}]"
    return getattr(type_, "__name__", None) or str(type_).removeprefix("typing.")


def item_of(type_: Any) -> Any:
    """The type of one item of a list type, or Any."""
    args = get_args(type_)
    is_list = isinstance(get_origin(type_), type) and issubclass(get_origin(type_), Sequence)
    return args[0] if is_list and args else Any


def field_of(type_: Any, name: str) -> Any | None:
    """The declared type of a field of a class, or None if it declares no such field."""
    if type_ is Any:
        return Any
    if not isinstance(type_, type):
        return None
    return get_type_hints(type_).get(name)
