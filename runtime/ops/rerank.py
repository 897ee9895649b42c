"""`rerank`: a question and documents -> the documents by how well they answer it."""

from collections.abc import Sequence
from typing import Any

from backends.base import Request, Result
from backends.documents import Doc
from graph_opt.graph import Node
from runtime.cost.api_tokens import Expected, tokens_of
from runtime.cost.latency import Load
from runtime.cost.loads import items_load, texts_load
from runtime.cost.sizes import UNKNOWN, Size, list_of, positive, size_of
from runtime.item_streams import Item, in_order
from runtime.memo import rules
from runtime.ops.base import OpRun, Piecewise, Sizes


def _back_in_place(output: list[Doc], columns: Sequence[list[Any]]) -> Sequence[Any]:
    """Ranked documents in the order they were given, by their content."""
    waiting: dict[tuple[str, str], list[Doc]] = {}
    for doc in reversed(output):
        waiting.setdefault((doc.id, doc.text), []).append(doc)
    return [waiting[doc.id, doc.text].pop() for doc in columns[-1]]


def _best(node: Node, results: Sequence[Item]) -> list[Doc]:
    ranked = sorted(in_order(results), key=lambda doc: -(doc.score or 0.0))
    k = node.attrs.get("k")
    return ranked[:k] if isinstance(k, int) else ranked


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    docs = args[1].as_list()
    k = positive(node.attrs.get("k"), docs.num_items)
    return (list_of(min(k, docs.num_items), docs.item or UNKNOWN),)


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    return (items_load("rerank", size_of(node.args[1], sizes).as_list()),)


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:  # noqa: ARG001
    return (texts_load("rerank", [request.inputs[1] for request in requests]),)


def _api_tokens(request: Request) -> Expected:
    """The query is read once for each document."""
    query, docs = request.inputs
    return Expected(tokens_of(docs) + len(docs) * tokens_of(query), 0.0)


RERANK = OpRun(
    pieces=Piecewise(_back_in_place, _best, without=("k",)),
    items_arg=1,
    size=_size,
    load=_load,
    measured=_measured,
    api_tokens=_api_tokens,
    remember=rules.whole,
)
