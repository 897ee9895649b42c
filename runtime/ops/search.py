"""`search`: an index, a question and its vector -> the k nearest documents."""

from collections.abc import Sequence

from backends.base import Request, Result
from backends.documents import Index
from graph_opt.graph import Node
from runtime.cost.latency import MEASURES, Load
from runtime.cost.sizes import CHUNK_TOKENS, Size, list_of, positive, size_of
from runtime.ops.base import OpRun, Sizes

DEFAULT_K = 10.0  # documents that a search returns


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    k = positive(node.attrs.get("k"), DEFAULT_K)
    held = args[0].item
    return (list_of(k if held is None else min(k, args[0].num_items), held or Size(CHUNK_TOKENS)),)


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    held = size_of(node.args[0], sizes)
    return (Load("search", 1.0, held.num_items if held.item else MEASURES["search"][2]),)


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:  # noqa: ARG001
    indexes = [request.inputs[0] for request in requests]
    ids = [index.ids for index in indexes if isinstance(index, Index) and index.ids is not None]
    if len(ids) < len(indexes):  # how much the store holds is not known here
        return ()
    return (Load("search", len(requests), max(map(len, ids))),)


SEARCH = OpRun(size=_size, load=_load, measured=_measured)
