"""Ranked pieces of a streamed list of documents."""

from dataclasses import replace

from backends.documents import Doc
from graph_opt.graph import Node
from runtime.ops.rerank import RERANK

DOCS = [Doc("a", "1"), Doc("b", "1"), Doc("a", "1"), Doc("a", "2")]  # text, id


def scored(scores: list[float]) -> list[Doc]:
    return [replace(doc, score=score) for doc, score in zip(DOCS, scores, strict=True)]


def test_a_piece_is_put_back_in_order_by_id_and_text() -> None:
    assert RERANK.pieces is not None
    given = scored([0.3, 0.4, 0.3, 0.1])
    ranked = sorted(given, key=lambda doc: -(doc.score or 0.0))
    assert RERANK.pieces.spread(ranked, [DOCS]) == given


def test_of_all_pieces_the_best_k_remain_equal_ones_in_order() -> None:
    assert RERANK.pieces is not None
    node = Node(("r",), "rerank", attrs={"engine": "r", "k": 3})
    given = scored([0.3, 0.4, 0.3, 0.1])
    places = [(i,) for i in range(4)]
    late_first = list(zip(places, given, strict=True))[::-1]
    assert RERANK.pieces.combine(node, late_first) == [given[1], given[0], given[2]]
