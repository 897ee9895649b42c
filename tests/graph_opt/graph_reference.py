"""A reference interpreter: what a graph means, with fakes that are functions of all they see.

An LLM answers with a hash of its whole context, a store with a hash of all it was ever told, a
sampled decode with a hash of which decode it is; so any change of meaning changes the outputs.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graph_opt.graph import Graph, Marker, Node, Ref


@dataclass
class World:
    """The outside state: what was done to each store, and by all impure calls together."""

    done: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def write(self, resource: str, what: str) -> str:
        self.done[resource].append(what)
        return self.read(resource)

    def read(self, resource: str) -> str:
        return digest(*self.done.get(resource, ()))


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def execute(
    graph: Graph, args: Sequence[object], random: Random | None = None
) -> tuple[list[object], dict[str, list[str]]]:
    """Outputs and effects by resource, in node order or in a random topological order."""
    world = World()
    return _run(graph, args, world, random, ()), dict(world.done)


def _run(
    graph: Graph, args: Sequence[object], world: World, random: Random | None, path: tuple[int, ...]
) -> list[object]:
    values = dict(zip((param.name for param in graph.params), args, strict=True))
    for node in _ordered(graph, random):
        if node.op == "input":
            continue
        read = [values[arg.name] if isinstance(arg, Ref) else arg for arg in node.args]
        results = (
            _map(node, read, world, random, path) if node.body else _do(node, read, world, path)
        )
        values.update(zip(node.outputs, results, strict=True))
    return [values[value] for value in graph.outputs]


def _ordered(graph: Graph, random: Random | None) -> Sequence[Node]:
    if random is None:
        return graph.nodes
    waiting = list(graph.nodes)
    done: set[str] = set()
    order: list[Node] = []
    while waiting:
        ready = [n for n in waiting if all(p.name in done for p in graph.parents(n))]
        order.append(random.choice(ready))
        waiting.remove(order[-1])
        done.add(order[-1].name)
    return order


def _map(
    node: Node, read: list[Any], world: World, random: Random | None, path: tuple[int, ...]
) -> list[object]:
    assert node.body is not None
    items = read[0] if isinstance(read[0], list) else [f"{read[0]}.0", f"{read[0]}.1"]
    indices = list(range(len(items)))
    if random is not None and node.attrs.get("order") != "sequential":
        random.shuffle(indices)
    results: dict[int, object] = {}
    for index in indices:
        args = [items[index], *read[1:]]
        results[index] = _run(node.body, args, world, random, (*path, index))[0]
    return [[results[index] for index in range(len(items))]]


def _do(node: Node, read: list[Any], world: World, path: tuple[int, ...]) -> list[object]:
    attrs = sorted((key, value) for key, value in node.attrs.items() if key != "engine")
    answer = digest(node.op, attrs, read)
    match node.op:
        case "const":
            return [node.attrs["value"]]
        case "context":
            return [f"<{node.attrs['engine']}>"]
        case "prefill":
            return [read[0] + "".join(map(_part, read[1:]))]
        case "decode":
            is_sampled = node.attrs.get("temperature") and node.attrs.get("seed") is None
            text = digest(answer, node.name, path) if is_sampled else answer
            return [text, f"{read[0]}|{text}"]
        case "ingest":
            return [world.write(str(node.attrs["engine"]), answer)]
        case "search" if read[0] is None:
            return [[answer, world.read(str(node.attrs["engine"]))]]
        case "call" if node.attrs.get("pure") is not True:
            return [digest(answer, world.write("*", answer))]
        case "pack" | "parse" | "flatten":
            return [[*read, answer]]
        case _:
            return [answer]


def _part(part: object) -> str:
    return f"|@{part.word}" if isinstance(part, Marker) else f"|{part}"
