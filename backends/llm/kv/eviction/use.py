"""Use statistics of cached tokens: the input of eviction policies."""

import math
from dataclasses import dataclass

NEVER = math.inf


@dataclass(slots=True)
class Use:
    """Of a tree node or an idle context. A policy scores it; the lowest score goes first."""

    last_used: int = 0  # logical time: one tick a use
    num_uses: int = 0
    seconds_per_token: float = 0.0  # to compute it again, as it stood at the last use
    floor: float = 0.0  # the highest score evicted before the last use: GDSF's ageing
    next_use: float = NEVER  # on a scale of the caller's; larger is later
    is_demoted: bool = False  # evicted before all that are not
    retained_until: float = -math.inf  # engine's clock; evicted after all that are not retained
