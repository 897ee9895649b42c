"""Eviction policies on traces: the figures that RAGCache's policy has to reach."""

import pytest

from benchmarks.bench_eviction import Retrievals, conversation, replay


def test_the_conversation_trace_has_the_hits_that_its_source_states() -> None:
    requests = conversation()
    assert len(requests) == 12_031
    tokens, _ = replay(requests, "lru", 300_000, 512)
    assert tokens == pytest.approx(0.366, abs=0.001)  # of an endless cache


@pytest.mark.parametrize("num_pages", [3000, 10_000])
def test_pgdsf_finds_as_much_of_conversations_as_lru_does(num_pages: int) -> None:
    requests = conversation()
    tokens, seconds = replay(requests, "pgdsf", num_pages, 512)
    lru_tokens, lru_seconds = replay(requests, "lru", num_pages, 512)
    assert tokens >= lru_tokens - 0.01
    assert seconds > lru_seconds


@pytest.mark.parametrize("num_pages", [1000, 2000])
def test_pgdsf_finds_more_than_lru_where_few_documents_are_asked_for_often(num_pages: int) -> None:
    retrievals = Retrievals(3000)
    for requests in (retrievals.prompts(), retrievals.chunks()):
        tokens, seconds = replay(requests, "pgdsf", num_pages, 16)
        lru_tokens, lru_seconds = replay(requests, "lru", num_pages, 16)
        assert tokens > lru_tokens + 0.005
        assert seconds > lru_seconds + 0.005
