from dataclasses import replace

import networkx as nx
from graph_strategies import graphs, patient
from hypothesis import given

from graph_opt.analysis.order import Order
from graph_opt.graph import Arg, Graph, Ref


@patient
@given(graphs())
def test_without_streams_the_order_is_the_ancestors_that_networkx_finds(random: Graph) -> None:
    graph = _whole(random)
    drawn, order = graph.to_networkx(), Order(graph)
    for node in graph.nodes:
        finished = order.add(node, node.after)
        assert _names(finished, order) == nx.ancestors(drawn, node.name)
        assert order.at_end[node.name] == finished | order.bit[node.name]


def _whole(graph: Graph) -> Graph:
    """All values read whole."""
    nodes = (replace(node, args=tuple(map(_read_whole, node.args))) for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def _read_whole(arg: Arg) -> Arg:
    return replace(arg, stream=False) if isinstance(arg, Ref) else arg


def _names(bits: int, order: Order) -> set[str]:
    return {name for name, bit in order.bit.items() if bits & bit}
