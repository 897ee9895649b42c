"""Drop what nobody uses: nodes without effects whose values are not read, and captures of maps.

Effects stay, with all they need; so do the graph's inputs, which are its signature.

    %a = embed %q [engine="e"]
    %h = map %qs %a {                                     %h = map %qs {
      %x = input [type="str"]                               %x = input [type="str"]
      %v = input [type="Vector"]                  ->        return %x
      return %x                                           }
    }
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graph_opt.graph import Graph, Node
from graph_opt.ops import has_effects
from graph_opt.rewrite import drop, in_bodies, rewrite


def cull(graph: Graph) -> Graph:
    """The graph without the nodes and captures that change neither outputs nor effects."""
    graph = rewrite(in_bodies(graph, cull), _cull_captures, recurse=False)
    return drop(graph, {node.name for node in graph.nodes} - _live(graph))


def _live(graph: Graph) -> set[str]:
    live: set[str] = set()
    used = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.op == "input" or has_effects(node) or not used.isdisjoint(node.outputs):
            live.add(node.name)
            used.update(node.inputs)
    return live


def _cull_captures(node: Node, _: Graph) -> Sequence[Node] | None:
    if node.body is None:
        return None
    used = {*node.body.outputs, *(value for inner in node.body.nodes for value in inner.inputs)}
    pairs = list(zip(node.args, node.body.params, strict=True))
    unused = [param.name for _, param in pairs[1:] if param.name not in used]
    args = tuple(arg for arg, param in pairs if param.name not in unused)
    return [replace(node, args=args, body=drop(node.body, unused))]
