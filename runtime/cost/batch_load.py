"""The loads of a finished batch, in the sizes of the surfaces of its ops."""

from collections.abc import Sequence

from backends.base import Outcome, Request, Result
from runtime.cost.latency import Load
from runtime.ops.table import OP_RUNS


def loads_of(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> tuple[Load, ...]:
    """What a finished batch asked for; nothing where that cannot be told, or something failed."""
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    if not requests or len(results) < len(requests):
        return ()
    measured = OP_RUNS[requests[0].op].measured
    return measured(requests, results) if measured is not None else ()
