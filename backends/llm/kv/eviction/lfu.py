"""Least frequently used first, the older one among equals. Old counts do not age."""

from backends.llm.kv.eviction.use import Use


def lfu(use: Use) -> float:
    return use.num_uses
