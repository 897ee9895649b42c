"""What reading the KV of a prompt's chunks saves, by the cost model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graph_opt.cost_model import CostModel
from graph_opt.facts import PlanQuality
from graph_opt.graph import Arg, Node
from graph_opt.tokens import BYTES_PER_TOKEN

MIN_TOKENS = 500  # of chunks, where nothing was profiled: LMCache and CacheBlend find as much
MOST_TOKENS = 1 << 16
NUM_CALLS = 2  # of the prefix and of the chunks, which find all of it in the cache


def computed_share(plan: str, plans: Mapping[str, PlanQuality]) -> float:
    """Of a chunk's tokens. The cost that was measured holds the question, as that of reuse does."""
    question = plans["reuse"].cost if "reuse" in plans else 0.0
    return min(1.0, max(0.0, plans[plan].cost - question))


@dataclass(frozen=True, slots=True)
class FusionPrice:
    """Of one prefill whose chunks have been computed before."""

    node: Node
    chunks: Sequence[Arg]
    cost: CostModel

    def exact_s(self) -> float:
        return self.cost.seconds(self.node)

    def fused_s(self, share: float) -> float:
        """As expected of chunks of the size that the cost model guesses."""
        rest_s = self._rest_s(0)
        return rest_s + share * max(0.0, self.exact_s() - rest_s) + self._calls_s()

    def pays_from(self, share: float) -> int | None:
        """So many tokens of chunks are computed later than a share of them is; None: never."""
        num_tokens = 1
        while self._rest_s(num_tokens) <= self._rest_s(share * num_tokens) + self._calls_s():
            num_tokens *= 2
            if num_tokens > MOST_TOKENS:
                return None
        return num_tokens

    def _calls_s(self) -> float:
        empty = replace(self.node, args=(self.node.args[0], "."))
        return NUM_CALLS * self.cost.seconds(empty)

    def _rest_s(self, num_tokens: float) -> float:
        """With so many tokens in the place of the chunks."""
        rest = [arg for arg in self.node.args if arg not in self.chunks]
        text = "." * round(num_tokens * BYTES_PER_TOKEN)
        return self.cost.seconds(replace(self.node, args=(*rest, text)))
