"""What is known of a chunk's KV that a request left behind: Cache-Craft (SIGMOD'25, 2502.15734)."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_MOST_CHUNKS = 4096
_MOST_VARIANTS = 4  # of a chunk


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """How a chunk of T tokens attended to the C chunks before it in the prompt that it was computed
    in. Weights are sums over heads and layers: only their ratios mean something."""

    before: tuple[str, ...]  # [C], the first after the prompt's prefix
    lengths: tuple[int, ...]  # [C]: their tokens
    by_token: Floats  # [T]: to all of them
    to_each: Floats  # [C]: of all tokens
    own: float  # of all tokens to the chunk itself

    @classmethod
    def of(cls, before: tuple[str, ...], lengths: tuple[int, ...], seen: Floats) -> Self:
        """From the weights [T, C + 1] of each token on each of them, and on the chunk itself."""
        others = seen[:, :-1]
        return cls(before, lengths, others.sum(1), others.sum(0), float(seen[:, -1].sum()))

    @property
    def impact(self) -> float:
        """How much of the KV is owed to what stood before, 0.5 to 1 (CCI, equations 9 to 11)."""
        num_tokens, lengths = max(1, len(self.by_token)), np.maximum(self.lengths, 1)
        to_others = float((self.to_each / (num_tokens * lengths)).sum())
        to_own = self.own / num_tokens**2
        ratio = to_others / to_own if to_own > 0 else np.inf
        return float(1 / (1 + np.exp(-ratio)))

    def overlap(self, before: Items[str]) -> float:
        """The share of the attention that went to chunks which stand before it again, less where
        their order is another (equations 6 to 8)."""
        if self.before == tuple(before):
            return 1.0
        to_each = self.to_each
        again = np.array([text in before for text in self.before], np.bool_)
        if not to_each.sum() > 0:
            return 0.0
        share = float(to_each[again].sum() / to_each.sum())
        return share * (1 - _discordance([text for text in self.before if text in before], before))

    def ranked(self) -> NDArray[np.intp]:
        """[T]: the tokens, first those that attended most to other chunks (equation 14)."""
        return np.argsort(-self.by_token, kind="stable")


def _discordance(common: Items[str], before: Items[str]) -> float:
    """The share of pairs whose order is another."""
    places = [list(before).index(text) for text in dict.fromkeys(common)]
    pairs = list(combinations(places, 2))
    return sum(a > b for a, b in pairs) / len(pairs) if pairs else 0.0


class Records:
    """The latest of each chunk behind each prompt prefix."""

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[Hashable, str], list[Record]] = OrderedDict()

    def add(self, prefix: Hashable, text: str, record: Record) -> None:
        found = self._of.setdefault((prefix, text), [])
        found[:] = [record, *(r for r in found if r.before != record.before)][:_MOST_VARIANTS]
        self._of.move_to_end((prefix, text))
        if len(self._of) > _MOST_CHUNKS:
            self._of.popitem(last=False)

    def best(
        self, prefix: Hashable, text: str, overhead: Callable[[Record], float]
    ) -> Record | None:
        """That of the least overhead, the newest of equals."""
        return min(self._of.get((prefix, text), ()), key=overhead, default=None)

    def clear(self) -> None:
        self._of.clear()
