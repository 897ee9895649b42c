import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
from graph_text import graph

from graph_opt.errors import GraphError
from graph_opt.graph import Graph, Node, Origin, Ref

LINES = """
    %q = input [type="str"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 %q " and " %q [engine="m"]
    %t, %c2 = decode %c1 [engine="m"]
    %u, %c3 = decode %c2 [engine="m"] after %c0
    return %t, %u
"""


def _names(nodes: tuple[Node, ...]) -> list[str]:
    return [node.name for node in nodes]


def test_a_node_lists_its_inputs_in_order_with_repeats() -> None:
    assert graph(LINES).node("c1").inputs == ("c0", "q", "q")


def test_lookups_follow_data_and_control_edges() -> None:
    g = graph(LINES)
    assert g.producer("c2").name == "t"
    assert _names(g.consumers("c2")) == ["u"]
    assert _names(g.consumers("t")) == []
    assert _names(g.consumers("q")) == ["c1"]
    assert _names(g.children(g.node("c0"))) == ["c1", "u"]
    assert _names(g.parents(g.node("u"))) == ["t", "c0"]
    assert _names(g.params) == ["q"]


def test_lookups_of_unknown_names_say_so() -> None:
    with pytest.raises(GraphError, match="no value %x"):
        graph(LINES).producer("x")
    with pytest.raises(GraphError, match="no node %c2"):
        graph(LINES).node("c2")


def test_graphs_are_values() -> None:
    g = graph(LINES)
    assert g.children(g.node("q"))  # fills the cache, which is not part of the value
    assert g == graph(LINES)
    assert hash(g) == hash(graph(LINES))
    assert pickle.loads(pickle.dumps(g)) == g
    assert replace(g, outputs=("t",)) != g
    with pytest.raises(FrozenInstanceError):
        g.outputs = ()  # type: ignore[misc]


def test_origins_and_the_name_are_labels() -> None:
    node = Node(("q",), "const", (), {"value": 1})
    labelled = replace(node, origin=Origin("f", "app.py", 3))
    assert Graph("a", (node,), ("q",)) == Graph("b", (labelled,), ("q",))


def test_a_graph_may_be_empty() -> None:
    assert str(Graph("nothing", (), ())) == "graph nothing {\n  return\n}"


def test_a_ref_is_not_the_string_of_its_name() -> None:
    one = Node(("x",), "format", ("q",))
    assert one.inputs == ()
    assert one != Node(("x",), "format", (Ref("q"),))
