import random

import pytest

from backends.base import Request, Result, Usage
from backends.documents import Doc, Index
from runtime.cost.batch_load import loads_of
from runtime.cost.curves import Curve, Surface
from runtime.cost.latency import (
    DEFAULTS,
    NOTHING_MEASURED,
    EngineLatency,
    LatencyModel,
    Load,
)

TEN_MS_EACH = LatencyModel({"embed": Surface.flat(Curve.line(0.0, 0.010))})
BATCH = Load("embed", 10, 400)


def request(op: str, *inputs: object, num_items: int = 1) -> Request:
    return Request("r", op, inputs, num_items=num_items)


def test_what_was_not_measured_has_a_default() -> None:
    assert NOTHING_MEASURED.seconds("embed", 3) == DEFAULTS["embed"].seconds(3, 0)
    assert NOTHING_MEASURED.seconds("call:my_tool", 1) == DEFAULTS["call"].seconds(1, 0)
    assert NOTHING_MEASURED.seconds("web_search", 1) > 0


def test_corrections_converge_to_what_runs_really_take() -> None:
    latency = EngineLatency(TEN_MS_EACH)
    noise = random.Random(1)
    for _ in range(60):
        latency.observe([BATCH], 0.150 * noise.uniform(0.8, 1.25))

    assert latency.seconds(BATCH) == pytest.approx(0.150, rel=0.15)


def test_one_op_is_corrected_without_the_others() -> None:
    latency = EngineLatency(TEN_MS_EACH)
    latency.observe([BATCH], 0.2)

    assert latency.correction("rerank") == 1.0
    assert latency.correction("embed") > 1.0


def test_an_outlier_moves_the_ratio_by_a_third_at_most_and_is_forgotten() -> None:
    latency = EngineLatency(TEN_MS_EACH)
    latency.observe([BATCH], 1000.0)
    assert latency.correction("embed") == pytest.approx(4**0.2)

    for _ in range(10):
        latency.observe([BATCH], 0.1)
    assert latency.correction("embed") == pytest.approx(1.0, abs=0.05)


def test_a_profile_is_never_corrected_beyond_four_times() -> None:
    latency = EngineLatency(TEN_MS_EACH)
    for _ in range(200):
        latency.observe([BATCH], 100.0)

    assert latency.correction("embed") == pytest.approx(4.0)


def test_a_default_may_be_off_by_far_more() -> None:
    latency = EngineLatency(NOTHING_MEASURED)
    load = Load("call:slow", 1, 0)
    for _ in range(200):
        latency.observe([load], 3.0)

    assert latency.seconds(load) == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_batch_that_took_no_time_teaches_nothing(seconds: float) -> None:
    latency = EngineLatency(TEN_MS_EACH)
    latency.observe([BATCH], seconds)

    assert not latency.corrections


def test_a_batch_has_as_many_items_as_pay_and_never_more_than_the_engine_takes() -> None:
    peak = Curve.measured([(1, 1.0), (2, 1.0), (4, 1.0), (8, 2.0), (16, 4.0)])
    latency = EngineLatency(LatencyModel({"embed": Surface.flat(peak)}))

    assert (latency.batch_items(64), latency.batch_items(3)) == (4, 3)
    assert EngineLatency(NOTHING_MEASURED).batch_items(64) == 64


def test_where_one_op_has_no_known_peak_the_engine_takes_what_it_can() -> None:
    peak = Curve.measured([(1, 1.0), (2, 2.0), (4, 4.0)])
    ops = {"ingest": Surface.flat(Curve.line(1, 0.1)), "search": Surface.flat(peak)}

    assert EngineLatency(LatencyModel(ops)).batch_items(64) == 64


def test_the_loads_of_embeddings_counts_all_texts_and_their_mean_length() -> None:
    requests = [request("embed", ["ab", "abcd"]), request("embed", Doc("abcdef"))]
    done = [Result((None,)), Result((None,))]

    assert loads_of(requests, done) == (Load("embed", 3, 4.0),)


def test_the_loads_of_searches_is_their_number_over_what_they_search() -> None:
    found = request("search", Index("c", ("a", "b")), "q", None)

    assert loads_of([found, found], [Result(([],)), Result(([],))]) == (Load("search", 2, 2),)
    assert loads_of([request("search", None, "q", None)], [Result(([],))]) == ()


class _Context:
    num_tokens = 30


def test_the_loads_of_an_llm_is_counted_in_tokens() -> None:
    prefill = loads_of(
        [request("prefill", _Context(), "x")], [Result((None,), Usage(prefill_tokens=7))]
    )
    decode = loads_of([request("decode", _Context())], [Result((None,), Usage(decode_tokens=10))])

    assert prefill == (Load("prefill", 7, 30),)
    assert decode == (Load("decode", 1, 35, 10),)


def test_a_text_that_brings_its_prompt_asks_for_two_kinds_of_work() -> None:
    usage = Usage(prefill_tokens=7, cached_tokens=3, decode_tokens=10)
    whole = loads_of([request("generate", "x")], [Result(("t",), usage)])
    local = loads_of([request("decode", _Context(), "x")], [Result(("t", None), usage)])
    remote_usage = Usage(prefill_tokens=12, cached_tokens=25, decode_tokens=10)
    remote = loads_of([request("decode", _Context(), "x")], [Result(("t", None), remote_usage)])

    assert whole == (Load("prefill", 7, 3), Load("decode", 1, 3 + 7 + 5, 10))
    assert local == (Load("prefill", 7, 33), Load("decode", 1, 33 + 7 + 5, 10))
    assert remote == (Load("prefill", 12, 25), Load("decode", 1, 25 + 12 + 5, 10))


def test_of_two_kinds_of_work_each_is_corrected_by_its_share() -> None:
    ops = {"prefill": Surface.flat(Curve.line(0, 1.0)), "decode": Surface.flat(Curve.line(0, 3.0))}
    latency = EngineLatency(LatencyModel(ops))
    loads = [Load("prefill", 1, 0), Load("decode", 1, 0)]
    latency.observe(loads, 8.0)

    assert latency.correction("prefill") == pytest.approx(2 ** (0.2 / 4))
    assert latency.correction("decode") == pytest.approx(2 ** (0.2 * 3 / 4))
    for _ in range(60):
        latency.observe(loads, 8.0)
    assert sum(map(latency.seconds, loads)) == pytest.approx(8.0, rel=0.01)


def test_a_prefill_that_a_cache_answered_teaches_nothing() -> None:
    usage = Usage(cached_tokens=9)

    assert loads_of([request("prefill", None, "x")], [Result((None,), usage)]) == ()


def test_a_batch_with_a_failure_teaches_nothing() -> None:
    assert loads_of([request("embed", "a")], [ValueError("no")]) == ()
