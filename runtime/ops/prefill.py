"""`prefill`: a context and the parts of a prompt -> the context after them."""

from collections.abc import Sequence

from backends.base import Request, Result
from graph_opt.graph import Node
from runtime.cost.api_tokens import Expected, prompt_only
from runtime.cost.latency import Load
from runtime.cost.loads import context_len, prompt_load, uncached_load
from runtime.cost.sizes import Size, size_of
from runtime.ops.base import OpRun, Sizes


def _size(node: Node, args: Sequence[Size]) -> Sequence[Size]:
    whole = sum(size.total for size in args)
    return (Size(whole, cached=whole if node.attrs.get("ahead") else args[0].cached),)


def _load(node: Node, sizes: Sizes) -> tuple[Load, ...]:
    """One on a guess takes time that the engine has no other use for."""
    if "ahead_of" in node.attrs:
        return ()
    return (prompt_load(node.args[1:], sizes, size_of(node.args[0], sizes).total),)


def _client_load(node: Node, sizes: Sizes, held: float) -> tuple[Load, ...]:
    is_request = node.attrs.get("ahead") and "ahead_of" not in node.attrs
    return (uncached_load(node, sizes, held),) if is_request else ()


def _measured(requests: Sequence[Request], results: Sequence[Result]) -> tuple[Load, ...]:
    if any(result.fusion is not None for result in results):  # its tokens are no exact prefill's
        return ()
    num_new = sum(result.usage.prefill_tokens for result in results)
    before = [context_len(request.inputs[0]) for request in requests]
    num_before = sum(before) + sum(result.usage.cached_tokens for result in results)
    return (Load("prefill", num_new, num_before / len(requests)),) if num_new else ()


def _api_tokens(request: Request) -> Expected | None:
    """A prefill stays with the client unless it runs ahead."""
    return prompt_only(request) if request.attrs.get("ahead") else None


PREFILL = OpRun(
    size=_size,
    load=_load,
    client_load=_client_load,
    measured=_measured,
    api_tokens=_api_tokens,
    takes_salt=True,
    extends_context=True,
)
