"""The benchmark of programs: its forms make the same calls, and its figures are what they say."""

from collections.abc import Iterator

import pytest

pytest.importorskip("langgraph")

from benchmarks.bench_programs import WAYS, Bench, Series, row_of
from benchmarks.programs import client_loop, langgraph_programs, ours, texts
from benchmarks.programs.meters import EngineMeter, ServerMeter, Tokens, counter
from benchmarks.remote.servers import served

EMULATED = "emulated:h100/llama-3.1-8b?output_tokens=4"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """All forms against one server of an emulated engine."""
    with served(EMULATED) as url:
        meter = ServerMeter(url)
        host = url.removeprefix("http://")
        made = Bench(url, f"teola://{host}?tokenizer=smollm2-135m", dict.fromkeys(WAYS, meter))
        yield made
        made.close()


@pytest.mark.model  # for the tokenizer of the emulated engine
@pytest.mark.server
@pytest.mark.parametrize("name", ours.PROGRAMS)
def test_all_forms_of_a_program_say_the_same_and_ask_for_the_same_tokens(
    name: str, bench: Bench
) -> None:
    found = {way: Series() for way in WAYS}
    for way in WAYS:
        bench.run(way, name, f"{name} {way}", found[way], counts=True)
    teola, client, langgraph = (found[way] for way in WAYS)
    assert teola.answers == client.answers == langgraph.answers
    assert teola.answers[0]
    asked = [sum((one.tokens[0].prefilled, one.tokens[0].cached)) for one in found.values()]
    assert asked[1] == asked[2]
    assert asked[0] == pytest.approx(asked[1], rel=0.05)


def test_every_program_has_all_forms_and_an_input() -> None:
    names = set(ours.PROGRAMS)
    assert names == set(client_loop.PROGRAMS) == set(langgraph_programs.PROGRAMS)
    assert names == set(ours.INPUTS)


@pytest.mark.model  # for the tokenizer of the emulated engine
def test_an_engine_in_this_process_is_counted_with_what_no_query_waits_for() -> None:
    app = ours.classification.using(memo=False, engines={"llm": EMULATED})
    inputs = ours.INPUTS["classification"]
    app(**inputs)
    meter = EngineMeter(EMULATED)
    app.using(salt="another")(**inputs)
    counted = meter.read()
    assert counted.prefilled > 0
    assert counted.hit_rate > 0.3  # the head is computed once for all messages
    assert meter.read() - counted == Tokens()


def test_ratios_are_of_runs_that_stood_side_by_side() -> None:
    first = {way: Series([1.0], [0.5], [["a"]], [Tokens(10, 30)]) for way in WAYS}
    series = {
        "teola": Series([1.0, 4.0], [1.0, 3.0], [["a"]] * 2),
        "client": Series([2.0, 12.0], [2.0, 2.0], [["a"]] * 2),
        "langgraph": Series([1.0, 4.0], [1.0, 1.0], [["a"], ["b"]]),
    }
    row = row_of("judge", first, series)
    assert (row["over_client"], row["over_langgraph"]) == (2.5, 1.0)
    assert (row["target"], row["met"]) == (1.5, True)
    assert row["cpu_s"] == {"teola": 2.0, "client": 2.0, "langgraph": 1.0}
    assert row["prefilled"] == row["client_prefilled"] == 10
    assert row["hit_rate"]["client"] == 0.75
    assert not row["answers_equal"]
    assert row_of("chat", first, series)["target"] == 0.95


def test_counters_are_read_from_metrics_and_a_missing_one_is_an_error() -> None:
    said = "# HELP x\nteola_cached_tokens_total 12.0\nteola_cached_tokens_created 1.7e9\n"
    assert counter(said, "cached_tokens") == 12
    with pytest.raises(SystemExit, match="teola_prefilled_tokens_total"):
        counter(said, "prefilled_tokens")


def test_the_vote_goes_by_the_last_number_of_each_sample() -> None:
    assert texts.most_common(["3 and 4 are 7", "7", "it is 5", "none"]) == "7"


def test_a_thought_is_shown_the_passage_with_most_of_its_words() -> None:
    assert "2050" in texts.look_up("through the year 2050")
