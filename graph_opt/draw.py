"""Drawings of a graph (SVG, Mermaid, Graphviz, JSON, outline), by primitive or by user call."""

from __future__ import annotations

from typing import Any

from graph_opt import picture, svg
from graph_opt.analysis.user_calls import UserCall, user_calls
from graph_opt.graph import Graph, Node, Origin
from graph_opt.ops import OPS, body_names, has_effects
from graph_opt.picture import Box, Line, Picture
from graph_opt.text import node_text


def to_mermaid(graph: Graph, by_call: bool = False) -> str:
    """A Mermaid flowchart of the primitives, or of the user's calls."""
    return picture.to_mermaid(_calls_picture(graph) if by_call else _picture(graph))


def to_dot(graph: Graph, by_call: bool = False) -> str:
    """A Graphviz drawing of the primitives, or of the user's calls."""
    return picture.to_dot(_calls_picture(graph) if by_call else _picture(graph))


def to_svg(graph: Graph, by_call: bool = False) -> str:
    """An SVG drawing of the primitives, or of the user's calls: for browsers and notebooks."""
    return svg.to_svg(_calls_picture(graph) if by_call else _picture(graph))


def to_json(graph: Graph, by_call: bool = False) -> dict[str, Any]:
    """Nodes and edges as plain values for `json.dumps`; bodies nested in their node."""
    if by_call:
        calls, edges = user_calls(graph)
        nodes = [_call_json(call) for call in calls]
        return {"name": graph.name, "nodes": nodes, "edges": [edge._asdict() for edge in edges]}
    return {
        "name": graph.name,
        "nodes": [_node_json(node) for node in graph.nodes],
        "edges": _edges_json(graph),
        "outputs": list(graph.outputs),
    }


def to_outline(graph: Graph) -> str:
    """The user's calls as text, one a line, each with the calls it waits for."""
    calls, edges = user_calls(graph)
    names = {call.id: call.name for call in calls}
    lines = [graph.name]
    for call in calls:
        waits = [names[edge.source] for edge in edges if edge.target == call.id]
        arrow = f"  <- {', '.join(waits)}" if waits else ""
        lines.append(f"  {'  '.join(_call_lines(call))}{arrow}")
    return "\n".join(lines) + "\n"


def _picture(graph: Graph, prefix: str = "n", title: str | None = None) -> Picture:
    ids = {node.name: f"{prefix}{index}" for index, node in enumerate(graph.nodes)}
    boxes = tuple(_box(node, ids[node.name]) for node in graph.nodes)
    lines = [
        Line(ids[edge["source"]], ids[edge["target"]], edge["value"], edge["kind"])
        for edge in _edges_json(graph)
    ]
    return Picture(graph.name if title is None else title, boxes, tuple(lines))


def _box(node: Node, box_id: str) -> Box:
    title, _, rest = node_text(node).partition(" = ")
    where = (f"{node.origin.call} {_place(node.origin)}",) if node.origin else ()
    titles = [name.strip("{}[]") for name in body_names(node)]  # "then", "else"
    inner = tuple(
        _picture(body, f"{box_id}{title}_", title)
        for title, body in zip(titles, node.bodies, strict=True)
    )
    kind = "input" if node.op == "input" else OPS[node.op].engine_kind or ""
    return Box(box_id, (title, rest, *where), kind, inner)


def _calls_picture(graph: Graph) -> Picture:
    calls, edges = user_calls(graph)
    boxes = (Box(call.id, _call_lines(call), "" if call.origin else "input") for call in calls)
    lines = (Line(edge.source, edge.target, "", edge.kind) for edge in edges)
    return Picture(graph.name, tuple(boxes), tuple(lines))


def _call_lines(call: UserCall) -> tuple[str, ...]:
    if call.origin is None:
        return (call.name,)
    each = "for each item: " if call.in_map else ""
    return call.name, _place(call.origin), f"({each}{' '.join(call.ops)})"


def _place(origin: Origin) -> str:
    return f"{origin.file}:{origin.line}"


def _node_json(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "outputs": list(node.outputs),
        "op": node.op,
        "text": node_text(node),
        "attrs": dict(node.attrs),
        "engine_kind": OPS[node.op].engine_kind,
        "effects": has_effects(node),
        "origin": _origin_json(node.origin),
        "body": None if node.body is None else to_json(node.body),
        "branches": [to_json(body) for body in node.bodies] if len(node.bodies) > 1 else [],
    }


def _edges_json(graph: Graph) -> list[dict[str, str]]:
    drawn = graph.to_networkx()
    return [
        {"source": source, "target": target, "kind": edge["kind"], "value": edge["value"]}
        for source, target, edge in drawn.in_edges(drawn.nodes, data=True)
    ]


def _call_json(call: UserCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "name": call.name,
        "ops": list(call.ops),
        "in_map": call.in_map,
        "origin": _origin_json(call.origin),
    }


def _origin_json(origin: Origin | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    return {"call": origin.call, "file": origin.file, "line": origin.line}
