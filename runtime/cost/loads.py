"""Loads that several ops have: lists of texts, prompts, written texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.base import Result
from backends.documents import Doc
from graph_opt.graph import Arg, Node
from graph_opt.tokens import BYTES_PER_TOKEN
from runtime.cost.latency import Load
from runtime.cost.sizes import Size, decode_tokens, prompt_tokens, size_of


def items_load(op: str, size: Size) -> Load:
    """The expected load of an op on each item of a list."""
    num_chars = BYTES_PER_TOKEN * size.total / max(1.0, size.num_items)
    return Load(op, size.num_items, num_chars)


def texts_load(op: str, values: Sequence[Any]) -> Load:
    """The measured load of an op on each of these texts, documents, and lists of them."""
    items = [item for value in values for item in (value if isinstance(value, list) else [value])]
    num_chars = sum(len(item.text if isinstance(item, Doc) else str(item)) for item in items)
    return Load(op, len(items), num_chars / max(1, len(items)))


def prompt_load(parts: Sequence[Arg], sizes: Mapping[str, Size], before: float) -> Load:
    """The expected load of a prompt behind `before` tokens."""
    return Load("prefill", prompt_tokens(parts, sizes), before)


def uncached_load(node: Node, sizes: Mapping[str, Size], held: float) -> Load:
    """The expected load of a whole prompt, context and parts, less what the server holds of it."""
    whole = [size_of(arg, sizes) for arg in node.args]
    cached = max(held, *(size.cached for size in whole[:1]), 0.0)
    return Load("prefill", max(0.0, sum(size.total for size in whole) - cached), cached)


def text_load(node: Node, before: float) -> Load:
    """The expected load of the text that a node writes behind `before` tokens."""
    tokens = decode_tokens(node)
    return Load("decode", 1.0, before + tokens / 2, tokens)


def written_loads(before: Sequence[int], results: Sequence[Result]) -> tuple[Load, ...]:
    """The measured loads of texts behind contexts of so many tokens: the tokens of the prompts that
    were computed, and the texts. None where a text is empty."""
    usages = [result.usage for result in results]
    num_written = [usage.decode_tokens for usage in usages]
    if min(num_written) == 0:
        return ()
    known = []
    for num_before, usage in zip(before, usages, strict=True):
        # an engine that gets the whole prompt counts the context among its tokens
        is_whole = usage.prefill_tokens + usage.cached_tokens >= num_before
        known.append(usage.cached_tokens + (0 if is_whole else num_before))
    num_new = sum(usage.prefill_tokens for usage in usages)
    count, num_known = len(usages), sum(known) / len(usages)
    length = num_known + num_new / count + max(num_written) / 2
    text = Load("decode", count, length, max(num_written))
    return (Load("prefill", num_new, num_known), text) if num_new else (text,)


def context_len(context: Any) -> int:
    """The tokens of a context; none in an empty one."""
    return int(getattr(context, "num_tokens", 0))
