"""The failure of a prompt is reported at the decodes that use its context.

Passes cut prefills, share them and move them out of bodies, so the node where one of them
fails is not a place in the program. A prefill that fails returns a failed context, and the decodes
on it fail with its error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graph_opt.graph import Node
from graph_opt.ops import OPS, may_fail


@dataclass(frozen=True, slots=True)
class FailedContext:
    """Stands for the context of a prompt that the engine refused."""

    error: Exception
    num_tokens: int = 0

    def release(self) -> None:
        """It holds nothing."""


def passes_failure_on(node: Node) -> bool:
    """Whether the node gives a failed context instead of failing."""
    return OPS[node.op].engine_kind == "llm" and not may_fail(node)


def lacks_input(node: Node, values: Mapping[str, Any]) -> bool:
    """Whether something failed that the node reads, which is ahead of another."""
    return any(isinstance(values[name], FailedContext) for name in node.inputs)


def failure_of_context(node: Node, values: Mapping[str, Any]) -> Exception | None:
    """Why the context that an LLM's node reads has failed, if it has."""
    if OPS[node.op].engine_kind != "llm" or not node.inputs:
        return None
    context = values[node.inputs[0]]
    return context.error if isinstance(context, FailedContext) else None
