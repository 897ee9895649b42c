"""The estimated number of tokens of a prompt's part, before the run."""

from __future__ import annotations

from collections.abc import Iterable

from graph_opt.graph import Arg, Ref

BYTES_PER_TOKEN = 4  # of English text
VALUE_TOKENS = 16  # the length of a value is unknown before the run; most are longer than this


def num_tokens(parts: Iterable[Arg]) -> float:
    """An estimate for these parts of a prompt; markers count nothing."""
    return sum(map(_num_tokens, parts))


def _num_tokens(part: Arg) -> float:
    if isinstance(part, Ref):
        return VALUE_TOKENS
    return len(part.encode("utf-8", "replace")) / BYTES_PER_TOKEN if isinstance(part, str) else 0
