"""The policies an engine can be asked for by name: `local:model?policy=mlfq`."""

from backends.llm.options import LLMOptions
from backends.llm.planner.admission import last_first, watermark
from backends.llm.planner.budgets import step_budget
from backends.llm.planner.orders import (
    by_arrival,
    by_deadline,
    by_level,
    by_prefix,
    by_priority,
    by_stage,
)
from backends.llm.planner.policy import Order, Policy


def policy_from(options: LLMOptions) -> Policy:
    """The hooks of `options.policy`, around it the requests' priorities."""
    itl_s = None if options.itl_ms is None else options.itl_ms / 1e3
    patience_s = options.patience_ms / 1e3
    return Policy(
        by_priority(_order(options, itl_s, patience_s), patience_s),
        watermark(options.watermark),
        step_budget(itl_s, may_widen=options.policy == "slo" or itl_s is not None),
        last_first,
    )


def _order(options: LLMOptions, itl_s: float | None, patience_s: float) -> Order:
    match options.policy:
        case "fcfs":
            return by_arrival
        case "sarathi":
            return by_stage
        case "lpm":
            return by_prefix(patience_s)
        case "mlfq":
            return by_level(options.quantum_ms / 1e3, patience_s)
        case "slo":
            return by_deadline(itl_s)
