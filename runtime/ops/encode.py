"""`encode`: the KV of chunks behind the head of a prompt, computed before a prompt asks for it."""

from collections.abc import Sequence

from graph_opt.graph import Node
from runtime.cost.latency import Load
from runtime.cost.loads import prompt_load
from runtime.cost.sizes import Size, size_of
from runtime.ops.base import OpRun, Sizes


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    return (Size(1.0),)


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    """In time that the engine has no other use for it costs nothing."""
    if "ahead_of" in node.attrs:
        return ()
    return (prompt_load(node.args[1:], sizes, size_of(node.args[0], sizes).total),)


ENCODE = OpRun(size=_size, load=_load, takes_salt=True)
