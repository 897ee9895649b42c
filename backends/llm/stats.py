"""Counters and gauges of an engine, for tests, `/metrics` and reports."""

from dataclasses import dataclass


@dataclass(slots=True)
class SpeculationStats:
    """Counters from the engine's start, and one gauge."""

    guessed_tokens: int = 0
    accepted_tokens: int = 0
    guessed_steps: int = 0  # with a guess or more
    decode_steps: int = 0  # of decodes alone
    is_on: int = 0  # 1: guesses pay at the moment


@dataclass(slots=True)
class CacheStats:
    """Counters only grow; gauges are read at the time of the call."""

    # prompt tokens that sequences found computed, by where their KV was
    pool_hit_tokens: int = 0
    host_hit_tokens: int = 0
    disk_hit_tokens: int = 0
    # pages that left the pool
    evicted_pages: int = 0
    saved_pages: int = 0  # copied to a lower tier
    known_pages: int = 0  # were in a lower tier already: swapped out once
    unsaved_pages: int = 0  # lost, since the queue to the lower tiers was full
    # contexts: what became of those that nobody was reading
    expected_reads: int = 0  # contexts read whose next read had been told
    kept_reads: int = 0  # of these, with all of their KV in the pool
    demoted_pages: int = 0  # lost by contexts to others, for a lower tier
    dropped_pages: int = 0  # the same where there is none
    prefetched_pages: int = 0  # brought back from there ahead of the read
    freed_contexts: int = 0  # after their last read
    # loads from lower tiers
    num_loads: int = 0
    num_waits: int = 0  # times that a sequence had to wait for a load
    lost_pages: int = 0  # were listed below and could not be had
    bad_files: int = 0  # torn, wrong or foreign, found on disk
    bytes_to_host: int = 0
    bytes_from_host: int = 0
    bytes_to_disk: int = 0
    bytes_from_disk: int = 0
    pages_compared: int = 0  # the work of prefix matching
    # gauges
    num_pages: int = 0
    free_pages: int = 0
    tree_pages: int = 0
    pinned_pages: int = 0
    idle_contexts: int = 0
    host_pages: int = 0
    disk_pages: int = 0
