"""Apps under load on a virtual clock."""

import json
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from backends.errors import ConfigError, RequestRejected
from backends.registry import EngineSpec
from teola.simulation.arrivals import Load
from teola.simulation.fleet import fleet_of
from teola.simulation.served import EngineUse, Served, figures_of, percentile
from teola.simulation.simulate import Simulation

llm = tl.LLM("local:smollm2-135m")
ON = {"llm": "emulated:h100/llama-3.1-8b?tokenizer=bytes&output_tokens=40"}


@tl.prompt(llm, max_tokens=64)
def write(topic: str) -> str:
    return f"Write about {topic}, and be brief."


@tl.tool
def picky(text: str) -> str:
    raise RequestRejected("not this one")


@tl.app
def story(topic: str) -> str:
    return write(write(topic))


@tl.app
async def twice(topic: str) -> str:
    return await tl.value(write(await tl.value(write(topic))))


@tl.app
def fails(topic: str) -> str:
    return picky(write(topic))


ASKED: list[Any] = [{"topic": f"the sea, {number} fathoms deep"} for number in range(7)]


@pytest.mark.parametrize("app", [story, twice])
def test_queries_wait_for_each_other_as_they_would(app: Any) -> None:
    simulation = Simulation(app, ASKED, ON)
    idle = simulation.run(list(Load(0.01, 20).arrivals()))
    busy = simulation.run(list(Load(400, 200).arrivals()))
    assert (idle.queries, busy.queries, idle.failed, busy.failed) == (20, 200, 0, 0)
    assert busy.mean_s > 1.3 * idle.mean_s
    assert busy.utilisation["llm"] > 0.5 > idle.utilisation["llm"] > 0
    assert 0 < busy.ttft_mean_s <= busy.mean_s <= busy.p99_s


def test_an_app_of_one_query_takes_what_a_virtual_run_of_it_takes() -> None:
    found = Simulation(story, ASKED[:1], ON).run(list(Load(1, 1).arrivals()))
    alone = tl.run_virtually(story.using(engines=ON, memo=False), **ASKED[0])
    assert found.mean_s == pytest.approx(alone.seconds, rel=1e-6)


def test_two_instances_do_more_than_one() -> None:
    one = Simulation(story, ASKED, ON)
    two = Simulation(story, ASKED, {"llm": ON["llm"].replace("h100", "2xh100", 1)})
    asked = list(Load(500, 200).arrivals())
    assert two.run(asked).mean_s < 0.8 * one.run(asked).mean_s


def test_what_llms_write_is_as_long_as_the_outputs_of_the_trace(tmp_path: Path) -> None:
    trace = tmp_path / "lengths.csv"
    trace.write_text("context_tokens,generated_tokens\n9,11\n9,21\n9,31\n")
    url = f"emulated:h100/llama-3.1-8b?tokenizer=bytes&lengths={trace}"
    found = Simulation(story, ASKED[:1], {"llm": url}, tmp_path / "log.jsonl")
    found.run(list(Load(5, 60).arrivals()))
    events = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    lengths = {event["decode_tokens"] for event in events if event.get("decode_tokens")}
    assert lengths == {11, 21, 31}, "equal prompts, yet other lengths in other queries"


def test_what_fails_a_query_is_counted_and_ends_no_other(tmp_path: Path) -> None:
    found = Simulation(fails, ASKED, ON, tmp_path / "log.jsonl").run(list(Load(9, 12).arrivals()))
    assert (found.queries, found.failed, found.errors) == (12, 12, {"RequestRejected": 12})
    assert found.first_error is not None
    assert "not this one" in found.first_error
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kinds.count("done") == 12


def test_an_engine_in_real_time_ends_the_simulation() -> None:
    with pytest.raises(ConfigError, match="computes in real time"):
        Simulation(story, ASKED, {}).run(list(Load(9, 3).arrivals()))


def test_each_engine_of_an_app_has_a_stand_in() -> None:
    engines = {
        "llm": EngineSpec("llm", "local:smollm2-135m"),
        "big": EngineSpec("llm", "vllm://gpu:8000/meta-llama/Llama-3.1-70B-Instruct"),
        "own": EngineSpec("llm", "openai://host/v1/some-model"),
        "ranks": EngineSpec("reranker", "local:maxsim"),
        "store": EngineSpec("store", "local:"),
        "mine": EngineSpec("embedder", "emulated:a100/bge-small"),
    }
    assert fleet_of(engines, "2xh100x2", {}, "t.csv", "fcfs") == {
        "llm": "emulated:2xh100x2/smollm2-135m?lengths=t.csv&policy=fcfs",
        "big": "emulated:2xh100x2/llama-3.1-70b?lengths=t.csv&policy=fcfs",
        "own": "emulated:2xh100x2/llama-3.1-8b?lengths=t.csv&policy=fcfs",
        "ranks": "emulated:h100x2/bge-reranker-large",
        "mine": "emulated:a100/bge-small",
    }
    with pytest.raises(ConfigError, match="there is no device 'h1000'; did you mean 'h100'"):
        fleet_of(engines, "h1000", {})


def test_figures_are_of_the_queries_that_ended_well() -> None:
    served = [Served(1.0, first_s=2.0, ended_s=4.0, prefill_tokens=30, cached_tokens=10)]
    served += [Served(2.0, ended_s=10.0, decode_tokens=20), Served(3.0, error=ValueError("no"))]
    found = figures_of(served, {"llm": EngineUse("emulated:2xh100/m", 5.0, 2, 3)})
    assert (found.mean_s, found.ttft_mean_s, found.p99_s) == (5.5, 4.5, 8.0)
    assert (found.failed, found.cached_share, found.preemptions) == (1, 0.25, 3)
    assert found.utilisation == {"llm": 0.25}
    assert found.queries_s == pytest.approx(0.2)


def test_percentiles_are_values_that_were_there() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([3.0], 99) == 3.0
    assert percentile([], 99) == 0.0
