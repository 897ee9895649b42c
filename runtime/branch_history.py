"""Which branch a condition takes, and what guesses of it cost: over all queries of a process."""

import re
from collections import OrderedDict
from dataclasses import dataclass

from runtime.guess_budget import Cost

LIKELY = 0.8  # share of the recent outcomes that a branch must have
MIN_SEEN = 3  # outcomes before the first guess
WEIGHT = 0.2  # of the newest outcome
MAX_PLACES = 4096
_ITEM = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class _Place:
    share: float  # of the first branch, recently
    num_seen: int = 0
    most: Cost | None = None  # of a guess here


class BranchHistory:
    """By app and condition; items of a map and turns of a loop are one."""

    def __init__(self) -> None:
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

    def most(self, app: str, path: str) -> Cost | None:
        """What the largest guess here cost; None before the first."""
        return self._place(app, path).most

    def cost(self, app: str, path: str, cost: Cost) -> None:
        """A guess here computed so much."""
        place = self._place(app, path)
        most = place.most or cost
        place.most = Cost(max(most.tokens, cost.tokens), max(most.seconds, cost.seconds))

    def _place(self, app: str, path: str) -> _Place:
        key = _key(app, path)
        place = self._places.setdefault(key, _Place(0.5))
        self._places.move_to_end(key)
        if len(self._places) > MAX_PLACES:
            self._places.popitem(last=False)
        return place


def _key(app: str, path: str) -> str:
    return f"{app}.{_ITEM.sub('[]', path)}"
