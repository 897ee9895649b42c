"""`ingest`: documents, with vectors or without -> the index of what a store now holds of them."""

from collections.abc import Sequence
from typing import Any

from backends.base import Request, Result
from backends.documents import Index
from graph_opt.graph import Node
from runtime.cost.latency import Load
from runtime.cost.loads import items_load, texts_load
from runtime.cost.sizes import first_arg_size, size_of
from runtime.item_streams import Item, in_order
from runtime.ops.base import OpRun, Piecewise, Sizes


def _ids(output: Index, columns: Sequence[list[Any]]) -> Sequence[Any]:
    assert output.ids is not None, "an ingest names what it wrote"
    num_items = len(columns[0])
    return [(output.collection, output.ids, i, num_items) for i in range(num_items)]


def _index(node: Node, results: Sequence[Item]) -> Index:  # noqa: ARG001
    parts = in_order(results)
    collection = parts[0][0] if parts else ""  # of nothing: any store's
    ids = dict.fromkeys(i for _, ids, nth, _ in parts if nth == 0 for i in ids)
    return Index(collection, tuple(ids))


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    return (items_load("ingest", size_of(node.args[0], sizes)),)


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> Load:  # noqa: ARG001
    return texts_load("ingest", [request.inputs[0] for request in requests])


INGEST = OpRun(
    pieces=Piecewise(_ids, _index),
    items_arg=0,
    size=first_arg_size,
    load=_load,
    measured=_measured,
)
