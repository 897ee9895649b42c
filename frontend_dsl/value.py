"""The symbolic value: stands for what a primitive will produce while an app is traced.

Inside an f-string it leaves a marker, so a prompt becomes parts and holes; reading a field of a
declared model makes a `get` node. Anything that needs the real value raises, with the ways out.
"""

import sys
import types
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from itertools import count
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from frontend_dsl.declared_types import (
    field_of,
    item_of,
    other_fields,
    slice_of,
    tuple_types,
    type_name,
    union_of,
)
from frontend_dsl.errors import SymbolicError, TraceError
from frontend_dsl.markers import mark, unprintable
from frontend_dsl.where import shower_of, user_frame
from graph_opt.ops import CONTEXT_TYPE

# a function, because the tracer of an `async def` app changes at each break, in all its tasks
current_tracer: ContextVar[Callable[[], Any] | None] = ContextVar("teola_tracer", default=None)

_ids = count(1)
_values: "WeakValueDictionary[int, Value]" = WeakValueDictionary()

WAYS_OUT = "it is known only when the app runs; "
OR_BREAK = ", or make the app `async def` and `await tl.value(...)`"


class Context:
    """The type of a value that is the token state of an LLM sequence."""


Context.__name__ = CONTEXT_TYPE  # as the graph calls it


class Value:
    """A value of `type` that node output `name` of `tracer`'s graph will produce."""

    __slots__ = ("__weakref__", "_id", "_name", "_pending", "_tracer", "_type")

    def __init__(self, tracer: Any, name: str, type_: Any) -> None:
        self._tracer = tracer
        self._name = name
        self._type = type_
        self._id = next(_ids)
        self._pending: Any = None  # the program.Pending of one whose segment was started
        _values[self._id] = self

    def __format__(self, spec: str) -> str:
        if spec:
            self._misuse(f"format spec {spec!r} on %{self._name}", "format it in a tl.tool")
        self._tracer.keep(self)
        return mark(self._id)

    def __str__(self) -> str:
        shower = shower_of(sys._getframe(1))
        if shower is not None:
            self._misuse(f"%{self._name} is shown by {shower}", f"show it in a tl.tool{OR_BREAK}")
        return self.__format__("")

    def __repr__(self) -> str:
        return unprintable(f"<symbolic %{self._name}: {type_name(self._type)}>")

    def __getattr__(self, name: str) -> "Value":
        if name.startswith("__"):
            raise AttributeError(name)
        field_type = field_of(self._type, name)
        if field_type is None:
            is_handle = isinstance(self._type, type) and issubclass(self._type, Handle)
            self._misuse(
                f"{type_name(self._type)} %{self._name} has no field {name!r}",
                "use it in the branch, body or function that made it"
                if is_handle
                else other_fields(self._type),
            )
        value: Value = self._here().emit_get(self, name, field_type)
        return value

    def __getitem__(self, key: Any) -> "Value":
        if isinstance(key, slice) and all(map(_is_bound, (key.start, key.stop, key.step))):
            part: Value = self._here().emit_slice(self, key, slice_of(self._type, key))
            return part
        if not isinstance(key, (int, str)) or isinstance(key, bool):
            self._misuse(f"%{self._name}[{key!r}]", "index it with a constant, or use a tl.tool")
        types_ = tuple_types(self._type)
        if types_ is not None and isinstance(key, int) and not -len(types_) <= key < len(types_):
            problem = f"{type_name(self._type)} %{self._name} has no item {key}"
            raise TraceError(problem, *user_frame())
        value: Value = self._here().emit_get(self, key, item_of(self._type, key))
        return value

    def _here(self) -> Any:
        """The tracer of the function being traced: of a value's fields each body takes its own."""
        find = current_tracer.get()
        return self._tracer if find is None else find()

    def _misuse(self, what: str, instead: str) -> NoReturn:
        error = SymbolicError(f"{what}: {WAYS_OUT}{instead}", *user_frame())
        self._here().misuse(error)
        raise error

    def __copy__(self) -> "Value":
        return self  # nobody can change it

    def __deepcopy__(self, memo: object) -> "Value":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self._misuse(f"%{self._name} is pickled", "do it in a tl.tool")

    def __bool__(self) -> NoReturn:
        self._misuse(
            f"%{self._name} is tested as a condition (by if, while, and, or, not)",
            "use tl.cond, with its branches swapped for `not` and one inside the other for `and`, "
            "or an `async def` app with `await tl.value(...)`; an argument of type bool or int is "
            "known and specialises the app, and so is one that `is None`",
        )

    def __iter__(self) -> Iterator[Any]:
        types_ = tuple_types(self._type)
        if types_ is None:
            self._misuse(
                f"%{self._name} is iterated over",
                "use tl.map(function, values), tl.zip, tl.enumerate, tl.filter or "
                f"tl.sorted{OR_BREAK}",
            )
        return iter([self[i] for i in range(len(types_))])

    def __len__(self) -> int:
        types_ = tuple_types(self._type)
        if types_ is None:
            self._misuse(f"len() of %{self._name}", f"count it in a tl.tool{OR_BREAK}")
        return len(types_)

    def __contains__(self, item: object) -> NoReturn:
        self._misuse(f"'in' on %{self._name}", f"test it in a tl.tool{OR_BREAK}")

    def __add__(self, other: object) -> Any:
        if self._type is str and _is_text(other):
            return f"{self}{other}"
        return NotImplemented if hasattr(other, "takes_values") else self._no_sum()

    def __radd__(self, other: object) -> Any:
        return f"{other}{self}" if self._type is str and _is_text(other) else self._no_sum()

    def _no_sum(self) -> NoReturn:
        self._misuse(f"'+' on %{self._name}", "write an f-string, or use tl.flatten for lists")

    def __mul__(self, other: object) -> NoReturn:
        self._misuse(f"arithmetic ('*', '-', '/' ...) on %{self._name}", "do it in a tl.tool")

    __sub__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = __matmul__ = __mul__
    __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = __divmod__ = __mul__
    __rmul__ = __rsub__ = __rtruediv__ = __rfloordiv__ = __rpow__ = __rmatmul__ = __mul__
    __rand__ = __ror__ = __rxor__ = __rlshift__ = __rrshift__ = __rdivmod__ = __mul__

    def __neg__(self) -> NoReturn:
        self._misuse(f"arithmetic on %{self._name}", "do it in a tl.tool")

    __pos__ = __invert__ = __abs__ = __neg__

    def __eq__(self, other: object) -> NoReturn:
        self._misuse(f"%{self._name} is compared", f"compare it in a tl.tool{OR_BREAK}")

    __lt__ = __le__ = __gt__ = __ge__ = __ne__ = __eq__

    def __int__(self) -> NoReturn:
        self._misuse(f"%{self._name} is turned into a number", "do it in a tl.tool")

    __float__ = __index__ = __complex__ = __int__

    def __round__(self, digits: int | None = None) -> NoReturn:
        self._misuse(f"%{self._name} is rounded", "do it in a tl.tool")

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:  # noqa: ARG002
        self._misuse(f"%{self._name} is called", "call it in a tl.tool")

    def __hash__(self) -> NoReturn:
        self._misuse(
            f"%{self._name} is looked up or put in a dict or set", f"do it in a tl.tool{OR_BREAK}"
        )


class Handle:
    """A value together with the component that can do something with it.

    In an app `behind` may be symbolic; a caller gets a handle on the real value.
    """

    behind: Any

    def lower(self, tracer: Any) -> Value:
        """The handle as a value of the graph, which is a real one when the app runs."""
        raise NotImplementedError

    def like(self, behind: Any) -> "Handle":
        """The same component's handle on another value."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """Equal for handles that lower to the same nodes."""
        raise NotImplementedError


def numbered(number: int) -> Value | None:
    """The value whose marker has this number, while somebody holds it."""
    return _values.get(number)


def type_of(value: Any) -> Any:
    """The type of a value, of which parts may be symbolic."""
    if isinstance(value, Value):
        return value._type
    if type(value) is tuple:
        return types.GenericAlias(tuple, tuple(map(type_of, value)))
    if type(value) in (list, set, frozenset) and value:
        return types.GenericAlias(type(value), (union_of([type_of(item) for item in value]),))
    return type(value)


def _is_text(value: object) -> bool:
    return value._type is str if isinstance(value, Value) else isinstance(value, str)


def _is_bound(bound: object) -> bool:
    return bound is None or (isinstance(bound, int) and not isinstance(bound, bool))
