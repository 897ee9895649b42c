"""Prefix-aware GDSF (RAGCache, arXiv 2404.12457): worth = uses x seconds to compute again / size.

A token deep in a long prompt takes longer to compute than one at its start, so it is worth more.
What stays unused ages: scores start from the highest score that was evicted before the last use.
"""

from backends.llm.kv.eviction.use import Use


def pgdsf(use: Use) -> float:
    return use.floor + use.num_uses * use.seconds_per_token
