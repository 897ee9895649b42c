"""Least recently used first: no model of the load, and hard to beat where prefixes recur soon."""

from backends.llm.eviction.use import Use


def lru(use: Use) -> float:
    return use.last_used
