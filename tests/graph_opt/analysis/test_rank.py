from graph_text import graph

from graph_opt.analysis.rank import rank
from graph_opt.cost_model import UnitCost, span_s, work_s
from graph_opt.graph import Node

G = graph(
    """
    %q = input [type="str"]
    %m = map %q {
      %x = input [type="str"]
      %w = embed %x [engine="e"]
      %s = search null %x %w [engine="s"]
      return %s
    }
    %a = cond %q %m {
      %x = input [type="list"]
      %r = rerank "q" %x [engine="r"]
      return %r
    } else {
      %x = input [type="list"]
      return %x
    }
    %t = generate %a [engine="m"]
    %other = embed %q [engine="e"]
    return %t
    """
)


class Profiled:
    def seconds(self, node: Node) -> float:
        return {"embed": 0.5, "search": 0.25, "rerank": 2.0, "generate": 4.0}.get(node.op, 0.0)


def test_the_rank_is_what_a_query_still_takes_from_the_start_of_a_node() -> None:
    ranks = rank(G, Profiled())
    names = ("q", "m", "a", "t", "other")
    assert [ranks[name] for name in names] == [6.75, 6.75, 6.0, 4.0, 0.5]


def test_nodes_of_bodies_count_their_own_body_and_what_follows_it() -> None:
    ranks = rank(G, Profiled())
    assert [ranks[name] for name in ("m[].w", "m[].s")] == [6.75, 6.25]
    assert [ranks[name] for name in ("a{then}.r", "a{else}.x")] == [6.0, 4.0]


def test_a_node_with_bodies_takes_the_longest_way_through_them() -> None:
    cost = UnitCost()
    spans = [span_s(G.node(name), cost) for name in ("q", "m", "a", "t")]
    assert spans == [0.0, 2.0, 1.0, 1.0]
    assert work_s(G.nodes, cost) == 5.0
