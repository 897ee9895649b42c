"""The heads of prompts that are the same in every query: what stands before the first value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from graph_opt.graph import Arg, Graph, Node, Ref
from graph_opt.ops import OPS
from graph_opt.paths import walk
from graph_opt.prompts import part_start
from graph_opt.text import json_text
from graph_opt.tokens import num_tokens

MIN_HEAD_TOKENS = 16  # a page of KV; shorter ones are not worth to be kept


@dataclass(frozen=True, slots=True)
class Head:
    """A head and the engine that reads it."""

    engine: str
    parts: tuple[Arg, ...]
    adapter: str | None = None
    tools: str | None = None  # JSON: the template's markup says them


def constant_heads(graph: Graph) -> tuple[Head, ...]:
    """The heads of all prompts in the graph and its bodies, each once."""
    found = (_head(node, inner) for _, node, inner in walk(graph))
    return tuple(dict.fromkeys(head for head in found if head is not None))


def constant_end(node: Node, graph: Graph) -> int:
    """Where the constant head of a prompt ends in the node's args; 1 for one that has none."""
    if graph.producer(node.inputs[0]).op != "context":
        return 1
    return part_start(node.args, 1 + len(list(_constants(node))))


def _head(node: Node, graph: Graph) -> Head | None:
    if OPS[node.op].prompt_from != 1 or len(node.args) < 2:
        return None
    parts = node.args[1 : constant_end(node, graph)]
    if num_tokens(parts) < MIN_HEAD_TOKENS:
        return None
    adapter = node.attrs.get("adapter")
    tools = json_text(node.attrs["tools"]) if node.attrs.get("tools") else None
    named = adapter if isinstance(adapter, str) else None
    return Head(str(node.attrs["engine"]), parts, named, tools)


def _constants(node: Node) -> Iterator[Arg]:
    return takewhile(lambda arg: not isinstance(arg, Ref), node.args[1:])
