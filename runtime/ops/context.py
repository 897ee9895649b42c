"""`context`: the empty token state of an LLM sequence."""

from collections.abc import Mapping, Sequence
from typing import Any

from graph_opt.graph import Node
from runtime.cost.sizes import Size
from runtime.ops.base import OpRun


def _run(node: Node, args: Sequence[Any], symbols: Mapping[str, Any]) -> Any:  # noqa: ARG001
    return None  # what engines take as the empty context


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (Size(0.0),)


CONTEXT = OpRun(run=_run, size=_size)
