"""What the store does with a primitive."""

from __future__ import annotations

from enum import Enum

from graph_opt.graph import Node
from graph_opt.ops import OPS, has_effects, is_pure, reads_state


class Kind(Enum):
    """How its result is found again, and whether it may run twice."""

    PURE = "pure"  # by its content, wherever it stands
    DRAWN = "drawn"  # by place and content: a sampled text, what was read of the world
    WRITES = "writes"  # a store: a second time does no harm
    EFFECT = "effect"  # a tool: never twice
    ASKS = "asks"  # a person
    NESTED = "nested"  # an app: what is inside it is kept by itself

    @property
    def is_effect(self) -> bool:
        """Whether its place says which one it is, whatever it is given."""
        return self in (Kind.EFFECT, Kind.ASKS)

    @property
    def is_committed(self) -> bool:
        """Whether its result is on the disk before the program has it."""
        return self in (Kind.EFFECT, Kind.ASKS, Kind.WRITES, Kind.NESTED)


def kind_of(node: Node) -> Kind:
    """Of a request to an engine."""
    attrs = node.attrs
    if attrs.get("asks"):
        return Kind.ASKS
    if "engines" in attrs:
        return Kind.NESTED
    if attrs.get("effects") or has_effects(node):
        return Kind.WRITES if OPS[node.op].engine_kind == "store" else Kind.EFFECT
    if is_pure(node) and not reads_state(node):
        return Kind.PURE
    return Kind.DRAWN


def may_run_again(node: Node) -> bool:
    """Whether the tool says that a second call does no harm."""
    return "retries" in node.attrs
