"""`select`: a context and texts -> the likeliest of them behind it, the score of each, and the
context after that text."""

from collections.abc import Sequence

from backends.base import Request, Result
from graph_opt.graph import Node
from runtime.cost.api_tokens import Expected, tokens_of
from runtime.cost.latency import Load
from runtime.cost.loads import context_len, uncached_load
from runtime.cost.sizes import Size, largest, list_of, size_of
from runtime.ops.base import OpRun, Sizes


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:  # noqa: ARG001
    choices = args[1].as_list()
    text = choices if choices.item is None else largest([choices.item])
    whole = args[0].total + text.total
    return (text, list_of(choices.num_items, Size(1.0)), Size(whole, cached=whole))


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    """All choices are read behind one context."""
    context, choices = (size_of(arg, sizes) for arg in node.args)
    return (Load("prefill", choices.total, context.total),)


def _client_load(node: Node, sizes: Sizes, held: float) -> tuple[Load, ...]:
    return (uncached_load(node, sizes, held),)


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:
    num_new = sum(result.usage.prefill_tokens for result in results)
    before = sum(context_len(request.inputs[0]) for request in requests) / len(requests)
    return (Load("prefill", num_new, before),) if num_new else ()


def _api_tokens(request: Request) -> Expected:
    """The context is read with each choice."""
    context, choices = request.inputs
    return Expected(tokens_of(choices) + len(choices) * context_len(context), 0.0)


SELECT = OpRun(
    size=_size,
    load=_load,
    client_load=_client_load,
    measured=_measured,
    api_tokens=_api_tokens,
)
