"""Furthest next use first (Belady), from the next uses that callers declare; undeclared ones first.

Optimal when the declarations are true and complete.
"""

from backends.llm.kv.eviction.use import Use


def next_use(use: Use) -> float:
    return -use.next_use
