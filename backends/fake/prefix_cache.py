"""The prefix cache of a fake server: what it computes of a prompt, and when that is done.

A server computes one prompt after another. With `shares_in_flight` a prompt also finds what another
one has begun to compute.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_PROMPTS = 256


@dataclass(frozen=True, slots=True)
class Computed:
    """What became of a prompt at the server."""

    num_cached: int
    num_new: int
    until_s: float  # when all of it is computed


class PrefixCache:
    """The prompts that a server has computed or computes, as words."""

    def __init__(self, token_s: float, *, shares_in_flight: bool) -> None:
        self._token_s = token_s
        self._shares_in_flight = shares_in_flight
        self._prompts: dict[tuple[str, ...], float] = {}  # prompt -> when it is computed
        self._free_s = 0.0  # when the server has computed all it was sent

    def compute(self, words: Sequence[str], now_s: float) -> Computed:
        """Take a prompt in."""
        known = [
            (_num_shared(words, prompt), -ready_s)
            for prompt, ready_s in self._prompts.items()
            if self._shares_in_flight or ready_s <= now_s
        ]
        num_cached, ready_s = max(known, default=(0, 0.0))
        num_new = len(words) - num_cached
        if num_new:
            self._free_s = max(self._free_s, now_s, -ready_s) + num_new * self._token_s
        until_s = self._free_s if num_new else max(now_s, -ready_s)
        self.keep(words, until_s)
        return Computed(num_cached, num_new, until_s)

    def keep(self, words: Sequence[str], ready_s: float) -> None:
        """From then on these words are in the cache; the oldest prompts make place."""
        self._prompts.setdefault(tuple(words), ready_s)
        while len(self._prompts) > MAX_PROMPTS:
            del self._prompts[next(iter(self._prompts))]


def _num_shared(left: Sequence[str], right: Sequence[str]) -> int:
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
