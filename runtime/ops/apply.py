"""`apply`: one of Python's own pure functions, by name: slice, zip, enumerate, sort ..."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graph_opt.graph import Json, Node
from runtime.cost.sizes import Size, list_of
from runtime.ops.base import OpRun

Attrs = Mapping[str, Json]


def _slice(attrs: Attrs, args: Sequence[Any]) -> Any:
    return args[0][slice(attrs.get("start"), attrs.get("stop"), attrs.get("step"))]


def _zip(attrs: Attrs, args: Sequence[Any]) -> Any:
    return list(zip(*args, strict=attrs.get("strict") is True))


def _enumerate(attrs: Attrs, args: Sequence[Any]) -> Any:
    start = attrs.get("start", 0)
    assert isinstance(start, int), "the front end lets only ints pass"
    return list(enumerate(args[0], start))


def _select(attrs: Attrs, args: Sequence[Any]) -> Any:  # noqa: ARG001
    items, keep = args
    return [item for item, is_kept in zip(items, keep, strict=True) if is_kept]


def _sort(attrs: Attrs, args: Sequence[Any]) -> Any:
    items, keys = map(list, args)  # they may be sets
    order = sorted(range(len(items)), key=keys.__getitem__, reverse=attrs.get("reverse") is True)
    return [items[i] for i in order]


def _dict(attrs: Attrs, args: Sequence[Any]) -> Any:  # noqa: ARG001
    return dict(zip(*args, strict=True))


def _strip(attrs: Attrs, args: Sequence[Any]) -> Any:
    strip = {"left": str.lstrip, "right": str.rstrip}.get(str(attrs.get("side")), str.strip)
    return strip(args[0])


FUNCTIONS: Mapping[str, Callable[[Attrs, Sequence[Any]], Any]] = {
    "dict": _dict,
    "enumerate": _enumerate,
    "frozenset": lambda _, args: frozenset(args[0]),
    "select": _select,
    "set": lambda _, args: set(args[0]),
    "slice": _slice,
    "sort": _sort,
    "strip": _strip,
    "zip": _zip,
}


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    return FUNCTIONS[str(node.attrs["fn"])](node.attrs, args)


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    first = args[0]
    match node.attrs["fn"]:
        case "slice" if first.items is not None and first.item is not None:
            return (list_of(_num_kept(node.attrs, first.items), first.item),)
        case "zip":
            lists = [size.as_list() for size in args]
            row = Size(sum(one.item.total for one in lists if one.item is not None))
            return (list_of(min(one.num_items for one in lists), row),)
        case "dict":
            return (Size(sum(size.total for size in args)),)
        case _:
            return (first,)


def _num_kept(attrs: Attrs, num_items: float) -> float:
    stop, start = attrs.get("stop"), attrs.get("start")
    if (isinstance(stop, int) and stop < 0) or (isinstance(start, int) and start < 0):
        return num_items
    end = min(num_items, stop) if isinstance(stop, int) else num_items
    return max(0.0, end - (start if isinstance(start, int) else 0))


APPLY = OpRun(run=_run, size=_size)
