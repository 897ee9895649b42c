"""Drop unused nodes and captures: values that are not read, of work on engines and plain values.

Effects stay, with all they need; so do calls of tools and validations of types, which may be there
to fail, and the graph's inputs, which are its signature. What a capture put in order stays so.

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

from graph_opt.graph import Graph, Node, Ref
from graph_opt.ops import OPS, has_effects, is_guard
from graph_opt.rewrite import drop, in_bodies, rewrite


def cull(graph: Graph) -> Graph:
    """The graph without the nodes and captures that change neither outputs nor effects."""
    graph = rewrite(in_bodies(graph, cull), _cull_captures, recurse=False)
    return drop(graph, {node.name for node in graph.nodes} - _live(graph))


def _live(graph: Graph) -> set[str]:
    live: set[str] = set()
    used = set(graph.outputs)
    for node in reversed(graph.nodes):
        stays = node.op == "input" or has_effects(node) or is_guard(node)
        if stays or not used.isdisjoint(node.outputs):
            live.add(node.name)
            used.update(node.inputs)
    return live


def _cull_captures(node: Node, graph: Graph) -> Sequence[Node] | None:
    if not node.bodies:
        return None
    first_param = OPS[node.op].params_from
    used = {index + first_param for body in node.bodies for index in _reads(body)}
    unused = [index for index in range(1, len(node.args)) if index not in used]
    if not unused:
        return None
    params = [index - first_param for index in unused]
    args = tuple(arg for index, arg in enumerate(node.args) if index not in unused)
    bodies = tuple(drop(body, {body.params[i].name for i in params}) for body in node.bodies)
    dropped = (arg for index, arg in enumerate(node.args) if index in unused)
    made_by = (graph.producer(arg.name) for arg in dropped if isinstance(arg, Ref))
    behind = (maker.name for maker in made_by if maker.op != "input")
    after = tuple(dict.fromkeys((*node.after, *behind)))
    return [replace(node, args=args, bodies=bodies, after=after)]


def _reads(body: Graph) -> set[int]:
    """Which params of the body are read, counted from 0."""
    used = {*body.outputs, *(value for node in body.nodes for value in node.inputs)}
    return {index for index, param in enumerate(body.params) if param.name in used}
