"""What of a branch may run before the branch is chosen: what nobody outside can tell from not run.

then {
  %c = prefill ...           runs early
  %t, %d = decode %c         runs early
  %s = call %t [fn="send"]   an effect: it waits, and with it what reads it
  return %s
}
"""

from __future__ import annotations

from graph_opt.analysis.begin import reads_streams
from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS, Access, access

_OF_ITS_OWN = frozenset(("ahead_of", "retries", "timeout_s", "engines"))  # attrs: it is more


def early_part(body: Graph) -> Graph | None:
    """The nodes that touch nothing outside and wait for none that do, with the parameters that they
    read; it returns what engines give. None where engines have nothing to do early."""
    kept: dict[str, Node] = {}
    for node in body.nodes:
        is_ready = all(parent.name in kept for parent in body.parents(node))
        if is_ready and _may_run_early(node):
            kept[node.name] = node
    outputs = [
        value
        for node in kept.values()
        if OPS[node.op].engine_kind is not None
        for value in node.outputs
    ]
    if not outputs:
        return None
    read = {name for node in kept.values() for name in node.inputs}
    nodes = (each for each in kept.values() if each.op != "input" or each.name in read)
    return Graph(body.name, tuple(nodes), tuple(outputs))


def _may_run_early(node: Node) -> bool:
    is_plain = not node.bodies and _OF_ITS_OWN.isdisjoint(node.attrs) and not reads_streams(node)
    return is_plain and access(node) == Access()
