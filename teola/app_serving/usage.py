"""What a run cost, from the counts that its events tell."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from backends.base import Usage
from teola.serving.token_counts import TokenCounts

_COUNTS = tuple(field.name for field in fields(Usage))


def usage_of(told: Mapping[str, Any]) -> Usage:
    """The counts of an `end` event."""
    return Usage(**{name: int(told.get(name, 0)) for name in _COUNTS})


def counts_of(usage: Usage) -> TokenCounts:
    """As OpenAI's `usage` has them, over all calls of the run."""
    return TokenCounts(
        usage.prefill_tokens + usage.cached_tokens + usage.fused_tokens,
        usage.cached_tokens,
        usage.decode_tokens + usage.forced_tokens,
        usage.fused_tokens,
    )
