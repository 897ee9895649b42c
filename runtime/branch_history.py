"""Which branch a condition takes, and what guesses of it cost: over all queries of a process."""

import re
from collections import OrderedDict
from dataclasses import dataclass

from backends.base import Usage

LIKELY = 0.8  # share of the recent outcomes that a branch must have
MIN_SEEN = 3  # outcomes before the first guess
WEIGHT = 0.2  # of the newest outcome
ALLOWANCE = 512  # tokens that may be wasted before anything was used
MAX_PLACES = 4096
_ITEM = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class _Place:
    share: float  # of the first branch, recently
    num_seen: int = 0
    tokens: float = 0.0  # of a guess here, recently


class BranchHistory:
    """By app and condition; items of a map and turns of a loop are one."""

    def __init__(self) -> None:
        self.used_tokens = 0  # computed by queries that may guess
        self.wasted_tokens = 0  # of these, by guesses that were wrong
        self._reserved = 0.0  # by guesses under way
        self._places: OrderedDict[str, _Place] = OrderedDict()  # least recently seen first

    def note(self, app: str, path: str, branch: int) -> None:
        """The condition at this path chose the branch 0 or 1."""
        place = self._place(app, path)
        is_first = float(branch == 0)
        place.share = is_first if not place.num_seen else place.share
        place.share += WEIGHT * (is_first - place.share)
        place.num_seen += 1

    def likely(self, app: str, path: str) -> int | None:
        """The branch that is worth a guess."""
        place = self._places.get(_key(app, path))
        if place is None or place.num_seen < MIN_SEEN:
            return None
        if place.share >= LIKELY:
            return 0
        return 1 if place.share <= 1 - LIKELY else None

    def reserve(self, app: str, path: str, share: float) -> float | None:
        """The tokens that a guess here may waste; None where with them more than `share` of what
        was used would be wasted."""
        tokens = self._place(app, path).tokens
        wasted = self.wasted_tokens + self._reserved + tokens
        if wasted > share * self.used_tokens + ALLOWANCE:
            return None
        self._reserved += tokens
        return tokens

    def settle(self, app: str, path: str, reserved: float, tokens: int, wasted: int) -> None:
        """A guess is over: it computed so many tokens, and so many of them for nothing."""
        self._reserved = max(0.0, self._reserved - reserved)
        self.wasted_tokens += wasted
        place = self._place(app, path)
        place.tokens += (tokens - place.tokens) * (WEIGHT if place.tokens else 1.0)

    def _place(self, app: str, path: str) -> _Place:
        key = _key(app, path)
        place = self._places.setdefault(key, _Place(0.5))
        self._places.move_to_end(key)
        if len(self._places) > MAX_PLACES:
            self._places.popitem(last=False)
        return place


def tokens_of(usage: Usage) -> int:
    """Tokens that were computed."""
    return usage.prefill_tokens + usage.decode_tokens


def _key(app: str, path: str) -> str:
    return f"{app}.{_ITEM.sub('[]', path)}"
