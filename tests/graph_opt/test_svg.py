"""Drawings as SVG."""

from xml.etree import ElementTree

from graph_strategies import graphs, patient
from graph_text import graph
from hypothesis import given, settings

from graph_opt.draw import to_svg
from graph_opt.graph import Graph
from graph_opt.layers import GAP_Y, place

SVG = "{http://www.w3.org/2000/svg}"
LINES = """
    %question = input [type="str"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 "say \\"hi\\" <b>\\n" %question [engine="m"]
    %t, %c2 = decode %c1 [engine="m"]
    %list = parse %t [type="list[str]"]
    %m = map %list {
      %q = input [type="str"]
      %v = embed %q [engine="e"]
      return %v
    }
    return %m
"""


def texts_of(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_each_primitive_is_a_box_with_its_text_and_bodies_stand_inside() -> None:
    svg = to_svg(graph(LINES))
    texts = texts_of(svg)
    for name in ("%question", "%c1", "%t, %c2", "%m", "%q", "%v"):
        assert name in texts
    assert any('"say \\"hi\\" <b>' in text for text in texts)  # escaped once
    assert svg.count("<rect") == 1 + len(graph(LINES).nodes) + 2


def test_nothing_is_fetched_and_nothing_runs() -> None:
    svg = to_svg(graph(LINES))
    addresses = svg.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in addresses
    assert "<script" not in svg
    assert "@import" not in svg


@given(graphs())
@settings(patient)
def test_any_graph_gives_well_formed_xml(any_graph: Graph) -> None:
    root = ElementTree.fromstring(to_svg(any_graph))
    assert root.tag == f"{SVG}svg"
    ElementTree.fromstring(to_svg(any_graph, by_call=True))


def test_rows_go_down_and_boxes_of_a_row_do_not_overlap() -> None:
    """
    a ──> b ──> d      the line from a to d passes the row of b and c
    ├───> c ───^ │
    └────────────┘
    """
    sizes = dict.fromkeys("abcd", (50.0, 20.0))
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "d")]
    places = place(sizes, edges)
    tops = {name: corner[1] for name, corner in places.corners.items()}
    assert tops["a"] + 20 + GAP_Y == tops["b"] == tops["c"]
    assert tops["b"] + 20 + GAP_Y == tops["d"]
    spans = sorted((places.corners[name][0], places.corners[name][0] + 50) for name in "bc")
    assert spans[0][1] < spans[1][0]
    (enters, leaves) = places.bends["a", "d"]
    assert enters[0] == leaves[0]
    assert not any(left < enters[0] < right for left, right in spans)
    assert places.bends["a", "b"] == []


def test_neighbours_stand_below_each_other() -> None:
    sizes = dict.fromkeys(("a", "b", "c", "x", "y", "z"), (10.0, 10.0))
    places = place(sizes, [("a", "z"), ("b", "y"), ("c", "x")])
    for upper, lower in (("a", "z"), ("b", "y"), ("c", "x")):
        assert places.corners[upper][0] == places.corners[lower][0]


def test_an_empty_drawing_has_no_size() -> None:
    assert place({}, []).size == (0.0, 0.0)
