"""The cache's counters with its current gauges."""

from dataclasses import replace

from backends.llm.kv.cache import KVCache
from backends.llm.kv.pins import Pins
from backends.llm.kv.tiers.tier_transfer import TierTransfer
from backends.llm.stats import CacheStats


def take_stats(cache: KVCache, pins: Pins, transfer: TierTransfer | None) -> CacheStats:
    """Any thread may ask; what it changes meanwhile may be counted or not."""
    host = transfer.tiers.worker.host if transfer is not None else None
    disk = transfer.tiers.worker.disk if transfer is not None else None
    return replace(
        cache.stats,
        pages_compared=cache.tree.num_pages_compared,
        num_pages=cache.pool.num_pages,
        free_pages=cache.pool.num_free,
        tree_pages=cache.tree.num_pages,
        pinned_pages=pins.num_pinned,
        idle_contexts=len(cache.idle),
        host_pages=len(host) if host is not None else 0,
        disk_pages=len(disk) if disk is not None else 0,
        bad_files=disk.num_bad if disk is not None else 0,
    )
