"""`format`: texts and values, one after another -> one text."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.cost.sizes import Size
from runtime.ops.base import OpRun
from runtime.value_text import to_text


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    return "".join(to_text(arg) for arg in args)


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (Size(sum(size.total for size in args)),)


FORMAT = OpRun(run=_run, size=_size)
