"""`const`: a literal, or what a symbol of the app stands for."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.cost.sizes import Size, size_of
from runtime.ops.base import OpRun


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    value = node.attrs["value"]
    return symbols[str(value)] if node.attrs.get("symbol") else value


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (size_of(node.attrs["value"], {}),)


CONST = OpRun(run=_run, size=_size)
