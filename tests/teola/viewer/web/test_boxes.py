from viewer_query import ABOUT, at, demo, ran, trace_of

from teola.viewer.critical_path import critical_path
from teola.viewer.model import Trace
from teola.viewer.web.boxes import Boxes, boxes_of


def drawn(trace: Trace, max_boxes: int = 300) -> Boxes:
    return boxes_of(trace, critical_path(trace), max_boxes)


def test_the_items_of_a_map_are_one_box() -> None:
    boxes = drawn(demo())

    assert boxes.one_is == "primitive"
    assert boxes.spans["hits[].search"] == [4, 5]
    assert ("hits[].vector", "hits[].search") in boxes.edges


def test_the_critical_path_is_known_box_by_box() -> None:
    boxes = drawn(demo())

    assert boxes.on_path == {*boxes.spans}
    assert ("hits[].search", "answer.prompt") in boxes.path_edges


def test_too_many_primitives_are_drawn_by_call_then_by_op() -> None:
    by_call, by_outer, by_op = (drawn(demo(), most) for most in (4, 3, 2))

    assert (by_call.one_is, [*by_call.spans]) == ("call", ["expand", "map/search", "answer"])
    assert by_outer.one_is == "call"
    assert by_op.one_is == "op of an engine"
    assert [*by_op.spans][:2] == ["prefill @llm", "decode @llm"]


def test_an_edge_to_an_earlier_box_is_one_of_the_next_turn() -> None:
    by_op = drawn(demo(), 2)

    assert ("search @store", "prefill @llm") in by_op.again
    assert ("prefill @llm", "decode @llm") in by_op.edges
    assert not any(source == target for source, target in (*by_op.edges, *by_op.again))


def test_a_trace_without_a_readable_graph_has_boxes_and_no_edges() -> None:
    about = {**ABOUT, "graph": "?"}
    boxes = drawn(trace_of([at(0, "query", **about), *ran("a", "embed", "e", (0, 0.1, 0.2), 0)]))

    assert [*boxes.spans] == ["a"]
    assert boxes.edges == []
