"""`delete`: ids, sources and the index that is kept -> how many documents a store gave up."""

from collections.abc import Sequence

from graph_opt.graph import Node
from runtime.cost.latency import Load
from runtime.cost.sizes import Size
from runtime.ops.base import OpRun, Sizes


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (Size(1.0),)


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:  # noqa: ARG001
    return (Load("delete", 1.0, 0.0),)


DELETE = OpRun(size=_size, load=_load)
