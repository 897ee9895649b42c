"""Furthest next use first (Belady), as far as callers say it; what nobody expects goes first.

Optimal when the hints are true and complete: nothing can be gained by keeping what is needed
later than what is evicted instead.
"""

from backends.llm.eviction.use import Use


def next_use(use: Use) -> float:
    return -use.next_use
