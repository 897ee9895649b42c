"""What the user wants a value for, as an attr of the primitives that make it."""

from dataclasses import replace

from graph_opt.graph import Node
from graph_opt.objective import LATENCY, Kind
from graph_opt.ops import OPS


def mark_objective(nodes: list[Node], value: str, kind: Kind) -> None:
    """Mark the last engine primitives that lead to a value; one that is wanted for both has the
    latency objective."""
    makers = {output: i for i, node in enumerate(nodes) for output in node.outputs}
    waiting, seen = [value], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in makers:  # a capture of the body has its maker outside
            continue
        seen.add(name)
        node = nodes[makers[name]]
        if OPS[node.op].engine_kind is None and not node.bodies:
            waiting += node.inputs
        elif node.attrs.get("objective") != LATENCY:
            nodes[makers[name]] = replace(node, attrs={**node.attrs, "objective": kind})
