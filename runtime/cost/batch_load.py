"""The load of a finished batch, in the sizes of its op's surface."""

from collections.abc import Sequence

from backends.base import Outcome, Request, Result
from runtime.cost.latency import Load
from runtime.ops.table import OP_RUNS


def load_of(requests: Sequence[Request], outcomes: Sequence[Outcome]) -> Load | None:
    """What a finished batch asked for; None where that cannot be told, or something failed."""
    results = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    if not requests or len(results) < len(requests):
        return None
    measured = OP_RUNS[requests[0].op].measured
    return measured(requests, results) if measured is not None else None
