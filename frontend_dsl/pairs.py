"""`zip` and `enumerate` on lists of which some are known only when the app runs."""

from collections.abc import Iterable
from types import GenericAlias
from typing import Any, TypeVar, cast, overload

from frontend_dsl.declared_types import item_of
from frontend_dsl.lowering import iterable
from frontend_dsl.marked_texts import is_symbolic
from frontend_dsl.tracer import Tracer, tracing
from graph_opt.graph import Json

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
T = TypeVar("T")


@overload
def zip_(
    first: Iterable[A], second: Iterable[B], /, *, strict: bool = ...
) -> list[tuple[A, B]]: ...
@overload
def zip_(
    first: Iterable[A], second: Iterable[B], third: Iterable[C], /, *, strict: bool = ...
) -> list[tuple[A, B, C]]: ...
@overload
def zip_(
    first: Iterable[A],
    second: Iterable[B],
    third: Iterable[C],
    fourth: Iterable[D],
    /,
    *,
    strict: bool = ...,
) -> list[tuple[A, B, C, D]]: ...
@overload
def zip_(*lists: Iterable[Any], strict: bool = ...) -> list[tuple[Any, ...]]: ...


def zip_(*lists: Iterable[Any], strict: bool = False) -> Any:
    """`list(zip(...))`: the items of several lists side by side, as many as the shortest has.

    With `strict` lists of different lengths are an error of the run.
    """
    tracer = tracing("tl.zip")
    with tracer.call("zip"):
        return zipped(tracer, lists, "tl.zip", strict=strict)


def zipped(tracer: Tracer, lists: Iterable[Any], what: str, *, strict: bool = False) -> Any:
    """Rows of items, with the type of each."""
    given = [iterable(one, what) for one in lists]
    if not is_symbolic(given):
        return list(zip(*given, strict=strict))
    values = [tracer.lift(one) for one in given]
    row = GenericAlias(tuple, tuple(item_of(value._type) for value in values))
    attrs: dict[str, Json] = {"fn": "zip", "strict": True} if strict else {"fn": "zip"}
    return tracer.emit("apply", values, attrs, "zip", GenericAlias(list, (row,)))


def enumerate_(items: Iterable[T], start: int = 0) -> list[tuple[int, T]]:
    """`list(enumerate(items, start))`: each item behind its number."""
    tracer = tracing("tl.enumerate")
    with tracer.call("enumerate"):
        given = iterable(items, "tl.enumerate")
        if not is_symbolic(given):
            return list(enumerate(given, start))
        value = tracer.lift(given)
        attrs: dict[str, Json] = {"fn": "enumerate", "start": start}
        type_ = GenericAlias(list, (GenericAlias(tuple, (int, item_of(value._type))),))
        return cast(list[tuple[int, T]], tracer.emit("apply", (value,), attrs, "enumerate", type_))
