"""`generate`: the parts of a prompt -> the text that the model writes, as one request."""

from collections.abc import Sequence

from backends.base import Request, Result
from graph_opt.graph import Node
from runtime.cost.api_tokens import text_tokens
from runtime.cost.latency import Load
from runtime.cost.loads import prompt_load, text_load, written_loads
from runtime.cost.sizes import Size
from runtime.memo import rules
from runtime.ops.base import OpRun, Sizes
from runtime.ops.decode import client_load, text_size


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    return text_size(node, args)[:1]


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    prompt = prompt_load(node.args, sizes, 0.0)
    return (prompt, text_load(node, prompt.size))


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:
    return written_loads([0] * len(requests), results)


GENERATE = OpRun(
    size=_size,
    load=_load,
    client_load=client_load,
    measured=_measured,
    api_tokens=text_tokens,
    takes_salt=True,
    remember=rules.generated,
)
