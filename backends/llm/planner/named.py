"""The policies an engine can be asked for by name: `local:model?policy=mlfq`."""

from backends.errors import ConfigError
from backends.llm.options import LLMOptions, PolicyName
from backends.llm.planner.by_arrival import by_arrival
from backends.llm.planner.by_deadline import by_deadline
from backends.llm.planner.by_level import by_level
from backends.llm.planner.by_prefix import by_prefix
from backends.llm.planner.by_priority import by_priority
from backends.llm.planner.by_stage import by_stage
from backends.llm.planner.fixed_budget import fixed_budget
from backends.llm.planner.itl_budget import itl_budget
from backends.llm.planner.last_first import last_first
from backends.llm.planner.policy import Admit, Budget, Order, Policy
from backends.llm.planner.watermark import watermark
from backends.llm.planner.when_idle import when_idle
from backends.llm.planner.whole_prompts import whole_prompts

_WHOLE = ("whole", "static")


def policy_from(options: LLMOptions) -> Policy:
    """The hooks of `options.policy`. An `itl_ms` sizes the steps of any but those that compute
    prompts whole, which refuse it with ConfigError."""
    name = options.policy
    if name in _WHOLE and options.itl_ms is not None:
        raise ConfigError(
            f"option itl_ms does not go with policy={name}, which computes prompts whole: leave "
            "itl_ms out, or take another policy"
        )
    return Policy(_order(name, options), _admit(name, options), _budget(name, options), last_first)


def _order(name: PolicyName, options: LLMOptions) -> Order:
    patience_s = options.patience_ms / 1e3
    match name:
        case "sarathi":
            return by_stage
        case "priority":
            return by_priority
        case "lpm":
            return by_prefix(patience_s)
        case "mlfq":
            return by_level(options.quantum_ms / 1e3, patience_s)
        case "slo":
            return by_deadline(_itl_s(options))
        case "fcfs" | "whole" | "static":
            return by_arrival


def _admit(name: PolicyName, options: LLMOptions) -> Admit:
    admit = watermark(options.watermark)
    return when_idle(admit) if name == "static" else admit


def _budget(name: PolicyName, options: LLMOptions) -> Budget:
    if name in _WHOLE:
        return whole_prompts
    if name == "slo" or options.itl_ms is not None:
        return itl_budget(_itl_s(options))
    return fixed_budget


def _itl_s(options: LLMOptions) -> float | None:
    return None if options.itl_ms is None else options.itl_ms / 1e3
