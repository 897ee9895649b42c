"""`ingest`: documents, with vectors or without -> the index of what a store now holds of them."""

from collections.abc import Sequence

from backends.base import Request, Result
from graph_opt.graph import Node
from runtime.cost.latency import Load
from runtime.cost.loads import items_load, texts_load
from runtime.cost.sizes import first_arg_size, size_of
from runtime.ops.base import OpRun, Sizes


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    return (items_load("ingest", size_of(node.args[0], sizes)),)


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:  # noqa: ARG001
    return (texts_load("ingest", [request.inputs[0] for request in requests]),)


INGEST = OpRun(
    items_arg=0,
    size=first_arg_size,
    load=_load,
    measured=_measured,
)
