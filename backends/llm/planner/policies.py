"""The policies by name (the option `policy`): orders of service, who precedes whom.

Those of `backends.policy` order by what each request says of its query (`by_policy`); the rest know
sequences alone. `by_priority` is around each of them: a larger `priority` goes first under every
policy, and the policy orders those of equal priority.
"""

from bisect import bisect_right
from collections.abc import Sequence as Items

from backends.llm.options import LLMOptions
from backends.llm.planner.admission import last_first, least_delay, step_budget, watermark
from backends.llm.planner.by_policy import ByPolicy
from backends.llm.planner.kept import Kept, KeptByLevel
from backends.llm.planner.policy import Order, Policy, View
from backends.llm.sequence.sequence import Sequence, ServiceStats
from backends.policy.application_aware import application_aware
from backends.policy.base import Policy as Ordering
from backends.policy.fcfs import fcfs
from backends.policy.named import POLICIES

MOST_LOOKED_UP = 128  # sequences whose prefix `by_prefix` looks up: a lookup costs microseconds
NO_TARGET_S = 60.0  # `by_deadline`: as if it wanted a token a minute


def policy_from(options: LLMOptions, asked: Ordering = application_aware) -> Policy:
    """The hooks of `options.policy`, around it the requests' priorities. `asked` is what queries
    ask for: "auto" goes by it."""
    name = options.policy
    itl_s = None if options.itl_ms is None else options.itl_ms / 1e3
    patience_s = options.patience_ms / 1e3
    budget = step_budget(itl_s, may_widen=name == "slo" or itl_s is not None)
    known = asked if name == "auto" else POLICIES.get(name)
    if known is None or known is fcfs:
        order = _order(name, options.quantum_ms / 1e3, itl_s, patience_s)
    else:  # it knows of queries, and how long their decodes go on
        order, budget = ByPolicy(known, patience_s), least_delay(budget)
    return Policy(by_priority(order, patience_s), watermark(options.watermark), budget, last_first)


def _order(name: str, quantum_s: float, itl_s: float | None, patience_s: float) -> Order:
    match name:
        case "sarathi":
            return by_stage
        case "lpm":
            return by_prefix(patience_s)
        case "mlfq":
            return by_level(quantum_s, patience_s)
        case "slo":
            return by_deadline(itl_s)
        case _:
            return by_arrival()


def by_arrival() -> Order:
    """What runs before what waits, each in order of arrival."""
    return Kept(lambda sequence: sequence.arrival)


def by_priority(order: Order, patience_s: float) -> Order:
    """Larger priority first, whether it runs or waits, and `order` among equals.

    The oldest of all sequences precedes them once it is `patience_s` old. So each is first in
    the end and none starves, and those that grew old take one place in a step, not all."""

    def order_classes(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        line = order(sequences, view, now_s)
        if len({sequence.request.priority for sequence in line}) <= 1:
            return line
        oldest = min(line, key=lambda s: s.arrival)
        is_overdue = now_s - oldest.service.arrived_s >= patience_s
        return sorted(line, key=lambda s: (is_overdue and s is not oldest, -s.request.priority))

    return order_classes


def by_stage(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:  # noqa: ARG001
    """What runs, then waiting decodes whose context is computed, then the rest.

    Otherwise a query that prefills and decodes in two requests waits twice: its decode is queued
    behind the prompts of all queries that arrived since. Sarathi-Serve's order (arXiv 2403.02310)
    of decodes, begun prompts and new prompts, for decodes that are requests of their own."""
    if not view.has_free_slot:
        return sequences
    running, waiting = sequences[: view.num_running], sequences[view.num_running :]
    return [*running, *sorted(waiting, key=lambda s: not _is_computed(s))]


def by_prefix(patience_s: float) -> Order:
    """What runs, then what has waited too long, then the longest cached prefix first, so that what
    the tree holds is used before it is evicted.

        waiting   a (0 cached)  b (640)  c (512)  ->  b c a; but once a has waited for
                  `patience_s`, a is first, and no later request overtakes it

    The order of SGLang (arXiv 2312.07104), which has no ageing and can starve."""

    def order(sequences: Items[Sequence], view: View, now_s: float) -> Items[Sequence]:
        if not view.has_free_slot:
            return sequences  # no sequence can start
        fixed = bisect_right(
            sequences,
            now_s - patience_s,
            lo=view.num_running,
            key=lambda s: s.service.arrived_s,
        )
        end = fixed + MOST_LOOKED_UP
        choice = sorted(sequences[fixed:end], key=lambda s: -len(view.known_pages(s)))
        return [*sequences[:fixed], *choice, *sequences[end:]]

    return order


def by_level(quantum_s: float, patience_s: float) -> Order:
    """Skip-join multi-level feedback: short work first, without knowing which work is short.

        level   0    1    2    3 ...     a new sequence joins the first level whose quantum holds
        quantum q   2q   4q   8q ...     its prompt; having used up its level's quantum it sinks

    Levels go in order, one level first come, first served, whether they run or wait. What sank
    keeps its pages while there is room and is first to lose them. A sequence that has not run for
    `patience_s` precedes all others and counts as new from then on. FastServe (arXiv 2305.05920).
    It pays where a few outputs are far longer than the rest and slots are short; where lengths are
    alike it only delays."""

    return KeptByLevel(lambda sequence: level_of(sequence.service, quantum_s), patience_s)


def level_of(service: ServiceStats, quantum_s: float) -> int:
    """The first level is f; on level i >= f it has been served q*(2**i - 2**f) or more."""
    served = int(service.served_s / quantum_s) + _first_span(service, quantum_s)
    return served.bit_length() - 1


def by_deadline(itl_s: float | None) -> Order:
    """What runs, then the earliest deadline first. `itl_s` is for requests that name no target of
    their own.

    The deadline of a sequence is its arrival plus the time it wants between tokens, so requests
    with tight targets precede slightly older ones, and every request is first eventually. With
    `step_budget` these are the first two mechanisms of AccelGen (arXiv 2503.13737); its packing of
    two resources is left out."""
    default_s = NO_TARGET_S if itl_s is None else itl_s

    def deadline(sequence: Sequence) -> tuple[float, int]:
        target_s = sequence.request.itl_s
        wanted_s = default_s if target_s is None else target_s
        return sequence.service.arrived_s + wanted_s, sequence.arrival

    return Kept(deadline)


def _is_computed(sequence: Sequence) -> bool:
    known = sequence.parent.table.num_computed if sequence.parent is not None else 0
    return sequence.generation is not None and sequence.num_to_prefill <= known


def _first_span(service: ServiceStats, quantum_s: float) -> int:
    """2**f: the quantum of its first level, in quanta of level 0."""
    prefill = -(-service.prefill_s // quantum_s)  # quanta, rounded up
    return 1 << max(0, int(prefill) - 1).bit_length()
