"""Least often used first; the older one among equals. It never forgets an old favourite."""

from backends.llm.eviction.use import Use


def lfu(use: Use) -> float:
    return use.num_uses
