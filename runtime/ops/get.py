"""`get`: the part of a value at a path of keys, positions and fields."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.cost.schema_sizes import size_at
from runtime.cost.sizes import Size
from runtime.ops.base import OpRun


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    value = args[0]
    path = node.attrs["path"]
    assert isinstance(path, list)
    for step in path:
        if value is None:
            raise AttributeError(f"the value is None and has no {step!r}; ask tl.cond first")
        if isinstance(step, int) or isinstance(value, Mapping):
            value = value[step]
        else:
            value = getattr(value, str(step))
    return value


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    is_list = node.attrs.get("list") is True
    return (size_at(args[0], node.attrs.get("path"), is_list=is_list),)


GET = OpRun(run=_run, size=_size)
