"""`generate`: the parts of a prompt -> the text that the model writes, as one request."""

from graph_opt.graph import Node
from runtime.cost.latency import Load
from runtime.cost.loads import prompt_load, text_load
from runtime.ops.base import OpRun, Sizes
from runtime.ops.decode import text_size


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    prompt = prompt_load(node.args, sizes, 0.0)
    return (prompt, text_load(node, prompt.size))


GENERATE = OpRun(size=text_size, load=_load)
