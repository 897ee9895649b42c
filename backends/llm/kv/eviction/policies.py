"""The policies by the name of the option `eviction`, and the order they are part of."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from backends.llm.kv.eviction.lfu import lfu
from backends.llm.kv.eviction.lru import lru
from backends.llm.kv.eviction.next_use import next_use
from backends.llm.kv.eviction.pgdsf import pgdsf
from backends.llm.kv.eviction.use import Use

Policy = Callable[[Use], float]
EvictionName = Literal["lru", "lfu", "pgdsf", "next_use"]
POLICIES: Mapping[EvictionName, Policy] = MappingProxyType(
    {"lru": lru, "lfu": lfu, "pgdsf": pgdsf, "next_use": next_use}
)
Rank = tuple[int, float, int]


def rank(use: Use, policy: Policy, now: float) -> Rank:
    """The lowest goes first: the demoted, then by policy, the retained at last; among equals the
    one used longest ago."""
    precedence = 0 if use.is_demoted else 2 if use.retained_until > now else 1
    return precedence, policy(use), use.last_used
