"""readiness, depth, bottom levels and the critical path, on one graph.

q -- embed v -- search h -----.
 \\                            prefill c1 -- decode t -- get g
  context c0 -----------------'
q -- map m (embed, rerank) ----------------------------- pack p
"""

import networkx as nx
from graph_strategies import graphs, patient
from graph_text import graph
from hypothesis import given

from graph_opt.analysis.critical_path import bottom_levels, critical_path
from graph_opt.analysis.depth import depth
from graph_opt.analysis.readiness import num_engine_ops, readiness
from graph_opt.graph import Graph, Node

G = graph(
    """
    %q = input [type="str"]
    %v = embed %q [engine="e"]
    %h = search null %q %v [engine="s"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 %h [engine="m"]
    %t, %c2 = decode %c1 [engine="m"]
    %g = get %t [path=["a"]]
    %m = map %q {
      %x = input [type="str"]
      %w = embed %x [engine="e"]
      %r = rerank %x %w [engine="r"]
      return %r
    }
    %p = pack %g %m
    %late = call %q [fn="f"] after %t
    return %p
    """
)


def test_readiness_counts_engine_ops_behind() -> None:
    ranks = readiness(G)
    assert [ranks[name] for name in ("q", "v", "h", "c0", "c1", "t", "g")] == [0, 1, 2, 0, 3, 4, 4]
    assert ranks["m"] == 2
    assert ranks["late"] == 5


def test_depth_counts_engine_ops_ahead() -> None:
    depths = depth(G)
    ahead = [depths[name] for name in ("q", "v", "h", "c0", "c1", "t", "g", "late")]
    assert ahead == [5, 4, 3, 3, 2, 1, 0, 0]
    assert depths["m"] == 0


def test_siblings_have_one_depth() -> None:
    siblings = graph(
        """
        %q = input [type="str"]
        %a = embed %q [engine="e"]
        %b = embed %q [engine="e"]
        %c = embed %q [engine="e"]
        %p = pack %a %b %c
        %d = rerank %q %p [engine="r"]
        return %d
        """
    )
    depths = depth(siblings)
    assert {depths["a"], depths["b"], depths["c"]} == {1}


def _cost(node: Node) -> float:
    return {"embed": 1.0, "search": 2.0, "prefill": 3.0, "decode": 5.0, "map": 20.0}.get(node.op, 0)


def test_the_critical_path_follows_cost_not_length() -> None:
    path = critical_path(G, _cost)
    assert path.length_s == 20.0
    assert [node.name for node in path.nodes] == ["q", "m"]
    by_length = critical_path(G, num_engine_ops)
    assert [node.name for node in by_length.nodes] == ["q", "v", "h", "c1", "t", "late"]


def test_bottom_levels_include_the_node_itself() -> None:
    levels = bottom_levels(G, _cost)
    assert [levels[name] for name in ("v", "h", "c1", "t", "g", "p")] == [11, 10, 8, 5, 0, 0]


def test_an_empty_graph_has_an_empty_path() -> None:
    assert critical_path(Graph("g", (), ()), _cost).nodes == ()


@patient
@given(graphs())
def test_the_longest_chain_is_the_same_from_both_ends(random: Graph) -> None:
    ranks, depths = readiness(random), depth(random)
    longest = max(ranks.values())
    assert max(ranks[node.name] + depths[node.name] for node in random.nodes) == longest
    assert critical_path(random, num_engine_ops).length_s == longest


@patient
@given(graphs())
def test_bottom_levels_are_the_longest_paths_that_networkx_finds(random: Graph) -> None:
    drawn = nx.DiGraph(random.to_networkx())
    for _, name, edge in drawn.edges(data=True):
        edge["weight"] = _by_name(random.node(name))
    for name, level in bottom_levels(random, _by_name).items():
        ahead = drawn.subgraph({name, *nx.descendants(drawn, name)})
        assert level == _by_name(random.node(name)) + nx.dag_longest_path_length(ahead)


def _by_name(node: Node) -> float:
    return 1.0 + len(node.op)
