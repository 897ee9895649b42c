"""`pack`: values -> a list of them, a tuple, or a dict where there are keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.cost.sizes import Size, largest, list_of
from runtime.ops.base import OpRun


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    keys = node.attrs.get("keys")
    if isinstance(keys, list):
        return dict(zip(keys, args, strict=True))
    return tuple(args) if node.attrs.get("kind") == "tuple" else list(args)


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    if node.attrs.get("keys") is not None:
        return (Size(sum(size.total for size in args)),)
    return (list_of(float(len(args)), largest(args)),)


PACK = OpRun(run=_run, size=_size)
