"""The largest step that meets the tightest inter-token target of its decodes.

    limit = tightest target of those that decode    budget = latency.tokens_within(limit)

Small chunks beside decodes with tight targets, large ones without waiting decodes: AccelGen's
dynamic chunk (arXiv 2503.13737), by the inverse of the latency model.
"""

from collections.abc import Sequence as Items

from backends.llm.planner.policy import Budget, View
from backends.llm.sequence.sequence import Sequence

MARGIN = 0.9  # of the target: predictions are off by some percent
LEAST = 16  # tokens of prompts a step, whatever the target: they too must get on
MOST = 2048  # tokens a step without decodes


def itl_budget(itl_s: float | None) -> Budget:
    """`itl_s` is for requests that name no target of their own; None: they take any."""

    def budget(sequences: Items[Sequence], view: View, now_s: float) -> int:  # noqa: ARG001
        decodes = [s for s in sequences if s.is_decoding]
        named = [s.request.itl_s if s.request.itl_s is not None else itl_s for s in decodes]
        limit_s = min((target for target in named if target is not None), default=None)
        if limit_s is None:
            return view.token_budget if decodes else max(view.token_budget, MOST)
        num_keys = sum(len(s.ids) for s in decodes)
        context_len = max((s.table.num_computed for s in sequences if not s.is_decoding), default=0)
        fits = view.latency.tokens_within(MARGIN * limit_s, num_keys, context_len)
        return min(max(fits, len(decodes) + LEAST), MOST)

    return budget
