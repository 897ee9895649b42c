"""What a request was given, for the accounts of policies."""

from backends.base import Outcome, Result, Usage
from backends.errors import RequestAborted
from backends.policy.base import Service


def service_of(outcome: Outcome, seconds: float) -> Service:
    """Of a request that ended so, after so many seconds at its engine.

    Engines that count no tokens are fair by items: each counts as a token that was prefilled.
    """
    usage = outcome.usage if isinstance(outcome, (Result, RequestAborted)) else Usage()
    tokens = usage.prefill_tokens + usage.decode_tokens
    prefill = usage.prefill_tokens if tokens else usage.num_items
    return Service(seconds, prefill, usage.decode_tokens)
