"""`decode`: a context and the last parts of its prompt -> what the model writes, and the context
after it."""

from collections.abc import Sequence

from backends.base import Request, Result
from graph_opt.graph import Node
from runtime.cost.api_tokens import text_tokens
from runtime.cost.latency import Load
from runtime.cost.loads import context_len, prompt_load, text_load, uncached_load, written_loads
from runtime.cost.sizes import Size, decode_tokens, size_of
from runtime.memo import rules
from runtime.ops.base import OpRun, Sizes


def text_size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    """Of the text, and of the context with the text."""
    tokens = decode_tokens(node)
    text = Size(tokens, schema=node.attrs.get("schema"))
    whole = sum(size.total for size in args) + tokens
    return (text, Size(whole, cached=whole))


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    context, *parts = node.args
    text = text_load(node, sum(size_of(arg, sizes).total for arg in node.args))
    if not parts:
        return (text,)
    return (prompt_load(parts, sizes, size_of(context, sizes).total), text)


def client_load(node: Node, sizes: Sizes, held: float) -> tuple[Load, ...]:
    """Of a text whose whole prompt is sent, of which the server holds some."""
    prompt = uncached_load(node, sizes, held)
    text = text_load(node, sum(size_of(arg, sizes).total for arg in node.args))
    return (prompt, text) if prompt.size > 0 else (text,)


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:
    return written_loads([context_len(request.inputs[0]) for request in requests], results)


DECODE = OpRun(
    size=text_size,
    load=_load,
    client_load=client_load,
    measured=_measured,
    api_tokens=text_tokens,
    takes_salt=True,
    remember=rules.written,
)
