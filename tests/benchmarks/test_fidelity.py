"""Recorded runs on a virtual clock, and what is told of them."""

from pathlib import Path

import pytest

from backends.emulated.descriptions import device_of, shape_of
from backends.emulated.measure import Measured
from backends.emulated.roofline import Roofline, Rows
from benchmarks.fidelity.load import queries
from benchmarks.fidelity.replay import Beside, figures, is_near, ranking
from benchmarks.fidelity.runs import WARM_UP, Run, Way, run_emulated
from benchmarks.fidelity.steps import errors
from teola.simulation.served import Served

URL = "emulated:l40s/llama-3.1-8b?tokenizer=bytes"
ASKED = queries(3.0, WARM_UP + 8, 0)


def a_run(*seconds: float) -> Run:
    served = [Served(10.0, first_s=10 + s / 2, ended_s=10 + s) for s in seconds]
    return Run(served, preemptions=0, busy_s=sum(seconds))


def test_a_recorded_run_is_replayed_to_the_digit(tmp_path: Path) -> None:
    first = run_emulated(URL, ASKED, Way(), record=tmp_path / "run.jsonl")
    replays = [run_emulated(URL, ASKED, Way(), tmp_path / "run.jsonl") for _ in range(2)]
    assert figures(first)["decode_tokens"] > 0
    assert [figures(run) for run in replays] == [figures(first)] * 2
    assert [s.jct_s for s in replays[0].served] == [s.jct_s for s in first.served]


def test_another_order_is_another_run(tmp_path: Path) -> None:
    several = run_emulated(URL, ASKED, Way())
    few = run_emulated(URL, ASKED, Way(options={"max_running": 1}))
    assert figures(few)["jct_mean_s"] > 1.5 * figures(several)["jct_mean_s"]


def test_ratios_are_emulated_to_real() -> None:
    row = Beside(a_run(1.0, 3.0), a_run(1.1, 3.1), a_run(1.0, 3.1)).row()
    assert row["jct_mean_ratio"] == 1.05
    assert row["own_jct_mean_ratio"] == 1.025
    assert row["decode_tokens_off"] == 0
    assert is_near(row)
    assert not is_near(Beside(a_run(1.0, 3.0), a_run(1.3, 3.3), a_run(1.0, 3.0)).row())


def test_only_real_differences_are_ranked() -> None:
    real, ours = {"a": 1.0, "b": 1.05, "c": 2.0}, {"a": 1.0, "b": 0.5, "c": 0.9}
    found = {name: Beside(a_run(real[name]), *[a_run(ours[name])] * 2) for name in real}
    ranked = ranking(found)
    assert (ranked["pairs"], ranked["agree"]) == (4, 2)
    assert [wrong[:3] for wrong in ranked["wrong"]] == [
        ["jct_mean_s", "a", "c"],
        ["ttft_mean_s", "a", "c"],
    ]


def test_errors_of_steps_are_relative() -> None:
    roofline = Roofline(device_of("h100")[0], shape_of("llama-3.1-8b", "llm"))
    spans = (Rows(1, 100),)
    seconds = roofline.step_s(spans, 1)
    told = errors(roofline, [Measured(spans, 1, seconds), Measured(spans, 1, seconds * 2)])
    assert told["mape"] == pytest.approx(0.25)
    assert told["duration_ratio"] == pytest.approx(2 / 3, rel=1e-3)
