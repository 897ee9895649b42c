"""`filter` and `sorted`, whose functions are traced as those of `tl.map` are."""

from collections.abc import Callable, Iterable
from types import GenericAlias
from typing import Any, TypeVar, cast

from frontend_dsl.control import map_
from frontend_dsl.declared_types import item_of
from frontend_dsl.tracer import tracing
from graph_opt.graph import Json

T = TypeVar("T")


def filter_(keep: Callable[[T], Any], items: Iterable[T]) -> list[T]:
    """`[item for item in items if keep(item)]`; the items are asked about side by side."""
    tracer = tracing("tl.filter")
    with tracer.call("filter"), tracer.inside():
        value = tracer.items(items, "tl.filter")
        kept = map_(keep, cast(Iterable[T], value))
        type_ = GenericAlias(list, (item_of(value._type),))
        args = (value, kept)
        return cast(list[T], tracer.emit("apply", args, {"fn": "select"}, "filter", type_))


def sorted_(
    items: Iterable[T], *, key: Callable[[T], Any] | None = None, reverse: bool = False
) -> list[T]:
    """`sorted(items, key=key, reverse=reverse)`; the keys are found side by side."""
    tracer = tracing("tl.sorted")
    with tracer.call("sorted"), tracer.inside():
        value = tracer.items(items, "tl.sorted")
        keys = value if key is None else map_(key, cast(Iterable[T], value))
        attrs: dict[str, Json] = {"fn": "sort"} | ({"reverse": True} if reverse else {})
        type_ = GenericAlias(list, (item_of(value._type),))
        return cast(list[T], tracer.emit("apply", (value, keys), attrs, "sorted", type_))
