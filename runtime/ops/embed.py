"""`embed`: a text or a list of texts -> their vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from backends.base import Request, Result
from graph_opt.graph import Node
from runtime.cost.latency import Load
from runtime.cost.loads import items_load, texts_load
from runtime.cost.sizes import first_arg_size, size_of
from runtime.item_streams import Item, in_order
from runtime.memo import rules
from runtime.ops.base import OpRun, Piecewise, Sizes


def _rows(output: Any, columns: Sequence[list[Any]]) -> Sequence[Any]:  # noqa: ARG001
    return list(output)


def _stack(node: Node, results: Sequence[Item]) -> Any:  # noqa: ARG001
    rows = in_order(results)
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    return (items_load("embed", size_of(node.args[0], sizes)),)


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:  # noqa: ARG001
    return (texts_load("embed", [request.inputs[0] for request in requests]),)


EMBED = OpRun(
    pieces=Piecewise(_rows, _stack),
    items_arg=0,
    size=first_arg_size,
    load=_load,
    measured=_measured,
    remember=rules.texts,
)
