"""Least recently used first: needs no model of the load, good where prefixes recur soon."""

from backends.llm.kv.eviction.use import Use


def lru(use: Use) -> float:
    return use.last_used
