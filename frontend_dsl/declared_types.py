"""What a declared type says of its values: its name in graphs, and the types of parts of them."""

import types
from collections.abc import Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from frontend_dsl.type_hints import field_hints


def type_name(type_: Any) -> str:
    """How a type reads in a graph: `str`, `list[Doc]`, `Queries`."""
    if type_ is None or type_ is type(None):
        return "None"
    if get_origin(type_) is Annotated:
        return type_name(get_args(type_)[0])
    if get_origin(type_) in (Union, types.UnionType):
        return " | ".join(type_name(arg) for arg in get_args(type_))
    if get_origin(type_) is not None:
        origin = getattr(get_origin(type_), "__name__", str(get_origin(type_)))
        args = ", ".join("..." if arg is ... else type_name(arg) for arg in get_args(type_))
        return f"{origin}[{args}]"
    return getattr(type_, "__name__", None) or str(type_).removeprefix("typing.")


def is_list(type_: Any) -> bool:
    """Whether a type is a list or another sequence of items (not a str)."""
    origin = get_origin(type_) or type_
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str


def is_optional(type_: Any) -> bool:
    """Whether a type is a union with None."""
    return is_union(type_) and type(None) in get_args(type_)


def is_union(type_: Any) -> bool:
    """Whether a type is `A | B`, `Union[A, B]` or `Optional[A]`."""
    return get_origin(type_) in (Union, types.UnionType)


def tuple_types(type_: Any) -> tuple[Any, ...] | None:
    """The types of a tuple's items, where the type says how many there are."""
    args = get_args(type_)
    return args if get_origin(type_) is tuple and args and Ellipsis not in args else None


def item_of(type_: Any, key: Any = None) -> Any:
    """The type of one item of a list type, of the item `key` of a tuple type, or Any."""
    types_ = tuple_types(type_)
    if types_ is not None:
        return types_[key] if isinstance(key, int) else union_of(types_)
    if type_ is str:
        return str
    args = get_args(type_)
    return args[0] if is_list(type_) and args else Any


def slice_of(type_: Any, key: slice) -> Any:
    """The type of a part of a list, a tuple or a text."""
    types_ = tuple_types(type_)
    return type_ if types_ is None else types.GenericAlias(tuple, types_[key])


def union_of(types_: Sequence[Any]) -> Any:
    """The type of a value that is of one of these types."""
    different: list[Any] = []
    for one in types_:
        if one not in different:
            different.append(one)
    if Any in different or not different:
        return Any
    return different[0] if len(different) == 1 else Union[tuple(different)]  # noqa: UP007


def other_fields(type_: Any) -> str:
    """What to do where a field is missing."""
    known = field_hints(type_) if isinstance(type_, type) and type_.__module__ != "builtins" else {}
    names = ", ".join(name for name in known if not name.startswith("_"))
    if names:
        return f"its fields are {names}; all else is computed in a tl.tool"
    return "declare a model as its type, or compute it in a tl.tool"


def field_of(type_: Any, name: str) -> Any | None:
    """The declared type of a field, or None if there is none; what may be None is asked anyway."""
    if is_union(type_):
        found = [field_of(arg, name) for arg in get_args(type_) if arg is not type(None)]
        return None if None in found else union_of(found)
    if type_ is Any:
        return Any
    if not isinstance(type_, type):
        return None
    return field_hints(type_).get(name)
