"""The soak in short: `benchmarks/soak_engine.py` runs ten thousand requests."""

from collections.abc import Callable

import pytest

from backends.errors import EngineError
from backends.fake.paged_model import PagedModel
from backends.llm.model.native.native_model import NativeModel
from backends.native.instruction_sets import isas_here
from benchmarks.soak_engine import Report, Soak, check, soaking, tiny_int8, tiny_llama, tiny_native

ANSWERED = {"prefill", "decode", "select"}
REFUSED = {"EngineError", "EngineOverloaded", "RequestRejected", "RequestTooLong"}


def assert_all_ended(report: Report) -> None:
    """Each request was answered, refused, aborted or failed with its step."""
    assert sum(report.outcomes.values()) == report.requests
    assert report.outcomes.keys() <= ANSWERED | REFUSED | {"aborted"}
    assert {"prefill", "decode", "aborted", "RequestRejected"} <= report.outcomes.keys()
    assert report.wrong == []
    assert report.checked > 0


@pytest.mark.parametrize("seed", [0, 1])
def test_three_hundred_random_requests_end_well_and_leak_nothing(seed: int) -> None:
    with soaking(PagedModel, seed) as (soak, roomy):
        report = soak.run(300)
        check(soak, roomy)
        stats = soak.core.cache_stats()
    assert_all_ended(report)
    assert report.aborted_while_loading > 0
    assert "pin" in report.pins
    assert min(stats.evicted_pages, stats.host_hit_tokens, stats.disk_hit_tokens) > 0


@pytest.mark.parametrize("seed", [3, 4])
def test_contexts_that_are_told_of_are_prefetched_and_nothing_leaks(seed: int) -> None:
    with soaking(PagedModel, seed, eviction="next_use") as (soak, roomy):
        report = soak.run(300)
        check(soak, roomy)
        stats = soak.core.cache_stats()
    assert_all_ended(report)
    assert min(stats.expected_reads, stats.demoted_pages, stats.prefetched_pages) > 0


def test_a_tiny_llama_decodes_the_same_under_all_of_it() -> None:
    with soaking(tiny_llama, seed=2, check_every=5) as (soak, roomy):
        report = soak.run(150)
        check(soak, roomy)
    assert_all_ended(report)


@pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for")
@pytest.mark.parametrize("model", [tiny_native, tiny_int8])
def test_the_kernels_decode_the_same_under_all_of_it(model: Callable[[], NativeModel]) -> None:
    with soaking(model, seed=5, check_every=5, page_size=16) as (soak, roomy):
        report = soak.run(200)
        check(soak, roomy)
    assert_all_ended(report)


def test_the_soak_notices_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    with soaking(PagedModel, seed=0, check_every=10**9) as (soak, _):
        monkeypatch.setattr(soak.core.cache.pool, "drop", lambda page: None)
        with pytest.raises((AssertionError, EngineError)):
            soak.run(60)


def test_the_soak_notices_kv_of_other_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    with soaking(PagedModel, seed=0) as (soak, roomy):
        take = Soak._step

        def spoil(self: Soak) -> None:
            soak.core.kv.tokens[:, 3] = 0
            take(self)

        monkeypatch.setattr(Soak, "_step", spoil)
        report = soak.run(60)
        check(soak, roomy)
        assert report.wrong != []
