import networkx as nx
from graph_strategies import graphs, patient
from graph_text import graph
from hypothesis import given

from graph_opt.graph import Graph, Ref

G = graph(
    """
    %q = input [type="str"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 %q %q [engine="m"]
    %t, %c2 = decode %c1 [engine="m", max_tokens=8]
    %list = elements ~%t [parser="lines"]
    %m = map ~%list {
      %x = input [type="str"]
      %v = embed %x [engine="e"]
      return %v
    }
    %sent = call %t [engine="p", fn="send"] after %m
    return %sent
    """
)


def test_nodes_carry_what_the_primitives_are() -> None:
    drawn = G.to_networkx()
    assert list(drawn) == [node.name for node in G.nodes]
    decode = drawn.nodes["t"]
    assert (decode["op"], decode["engine_kind"]) == ("decode", "llm")
    assert decode["outputs"] == ("t", "c2")
    assert decode["attrs"] == {"engine": "m", "max_tokens": 8}
    assert decode["args"] == (Ref("c1"),)
    assert decode["origin"] is None
    (body,) = drawn.nodes["m"]["bodies"]
    assert list(body.edges(keys=True)) == [("x", "v", "x")]
    assert (drawn.graph["name"], drawn.graph["outputs"]) == ("g", ("sent",))


def test_an_edge_stands_for_a_value_read_or_an_order() -> None:
    found = {(a, b, key): kind for a, b, key, kind in G.to_networkx().edges(keys=True, data="kind")}
    assert found == {
        ("q", "c1", "q"): "data",  # read twice, one edge
        ("c0", "c1", "c0"): "data",
        ("c1", "t", "c1"): "data",
        ("t", "list", "t"): "stream",
        ("list", "m", "list"): "stream",
        ("t", "sent", "t"): "data",
        ("m", "sent", ""): "control",
    }


def test_two_values_of_one_node_are_two_edges() -> None:
    both = graph(
        """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 "a" [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        %c3 = prefill %c2 %t [engine="m"]
        return %t
        """
    )
    assert set(both.to_networkx()["t"]["c3"]) == {"t", "c2"}


@patient
@given(graphs())
def test_neighbours_are_those_of_the_graph(random: Graph) -> None:
    drawn = random.to_networkx()
    assert nx.is_directed_acyclic_graph(drawn)
    for node in random.nodes:
        assert set(drawn.predecessors(node.name)) == {each.name for each in random.parents(node)}
        assert set(drawn.successors(node.name)) == {each.name for each in random.children(node)}
