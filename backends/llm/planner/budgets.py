"""How many tokens a step may compute.

Without a wanted time between tokens, Sarathi-Serve's fixed budget (arXiv 2403.02310): the planner
fills it with all decodes first, then with chunks of prompts that have begun, then with new prompts,
so that no decode stalls. With one, the largest step that meets the tightest target of its decodes:

    limit = tightest target of those that decode    budget = latency.tokens_within(limit)

Small chunks beside decodes with tight targets, large ones without waiting decodes: AccelGen's
dynamic chunk (arXiv 2503.13737), by the inverse of the latency model.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import Budget, View
from backends.llm.sequence.sequence import Sequence

MARGIN = 0.9  # of the target: predictions are off by some percent
LEAST = 16  # tokens of prompts a step, whatever the target: they too must get on
WIDEST = 2048  # tokens a step where no target forbids it


def step_budget(itl_s: float | None, may_widen: bool) -> Budget:
    """`itl_s` is for requests that name no target of their own; None: they take any. A step goes
    beyond the engine's `token_budget` only if it `may_widen`, and no decode is delayed too far."""

    def budget(sequences: Items[Sequence], view: View, now_s: float) -> int:  # noqa: ARG001
        if not may_widen and all(s.request.itl_s is None for s in sequences):
            return view.token_budget
        most = max(view.token_budget, WIDEST) if may_widen else view.token_budget
        decodes = [s for s in sequences if s.is_decoding]
        limit_s = tightest(decodes, itl_s)
        if limit_s is None:
            return view.token_budget if decodes else most
        num_keys = sum(len(s.ids) for s in decodes)
        context_len = max((s.table.num_computed for s in sequences if not s.is_decoding), default=0)
        fits = view.latency.tokens_within(MARGIN * limit_s, num_keys, context_len)
        return min(max(fits, len(decodes) + LEAST), most)

    return budget


def tightest(decodes: Items[Sequence], itl_s: float | None) -> float | None:
    """The least time that one of them wants between tokens; None: they take any."""
    named = [s.request.itl_s if s.request.itl_s is not None else itl_s for s in decodes]
    return min((target for target in named if target is not None), default=None)
