"""The benchmark of policies: the same figures each time, and queries that are served as said."""

from pathlib import Path

import pytest
from rich.console import Console

from backends.policy.named import POLICIES
from benchmarks.bench_scheduling import NAMES, PUBLISHED, WAYS, bench, reported, row
from benchmarks.scheduling.serving import Machine, Served, serve
from benchmarks.scheduling.workloads import Arrival, arrivals

pytestmark = pytest.mark.model  # a tokenizer counts

MACHINE = Machine("rtx-3090", "llama-2-7b", max_running=32)


def test_a_seed_gives_the_same_figures_each_time() -> None:
    first, second = (
        bench("mixed", list(WAYS)[:3], [0.7], 4, 1, MACHINE, Console(quiet=True))["0.7"]
        for _ in range(2)
    )
    assert first == second
    assert list(first) == list(WAYS)[:3]
    assert all(found["p99_s"] >= found["p50_s"] > 0 for found in first.values())


def test_arrivals_are_drawn_once_and_each_reads_a_document_of_its_own(tmp_path: Path) -> None:
    asked = list(arrivals(("chain", "naive_rag"), 2.0, 200, 3, tmp_path))
    assert 60 < asked[-1].at_s < 160  # 100 s are expected
    assert len({each.arguments["files"][0] for each in asked}) == 200
    assert {each.app for each in asked} == {"chain", "naive_rag"}


def test_a_query_with_less_left_passes_those_that_came_before_it(tmp_path: Path) -> None:
    def document(name: str, num_words: int) -> str:
        path = tmp_path / f"{name}.txt"
        path.write_text(" ".join(f"{name}{i}" for i in range(num_words)))
        return str(path)

    asked = [Arrival(0.0, "chain", {"files": [document(f"c{i}", 600)]}) for i in range(10)]
    asked.append(Arrival(0.0, "map_reduce", {"files": [document("d", 100)]}))  # of one part
    by_arrival = serve(asked, MACHINE, WAYS["fcfs"])
    by_application = serve(asked, MACHINE, WAYS["application_aware"])
    assert by_application[-1].seconds < by_arrival[-1].seconds / 1.5


def test_the_gap_is_between_the_slow_downs_of_apps() -> None:
    alone = [Served("a", 1.0, 0), Served("a", 2.0, 0), Served("b", 4.0, 0)]
    served = [Served("a", 2.0, 0), Served("a", 2.0, 0), Served("b", 12.0, 0)]
    found = row(served, alone)
    assert found["fairness_gap"] == 3.0 - 1.5
    assert found["mean_s"] == pytest.approx(16 / 3, abs=0.001)
    assert found["p50_s"] == 2.0


def test_each_policy_with_a_name_is_compared_and_the_baseline_is_first() -> None:
    assert set(NAMES) == set(POLICIES) == set(WAYS) - set(PUBLISHED)
    assert next(iter(WAYS)) == "fcfs"
    assert WAYS["application_aware"].engine_policy == "application_aware"


def test_the_load_nearest_to_seven_tenths_is_told() -> None:
    sweep = {load: {"fcfs": {"mean_s": float(load)}} for load in ("0.5", "0.75", "0.9")}
    assert reported(sweep) == {"fcfs": {"mean_s": 0.75}}


@pytest.mark.parametrize("seed", range(4))
def test_the_longest_documents_of_a_workload_are_there(tmp_path: Path, seed: int) -> None:
    asked = list(arrivals(("map_reduce",), 1.0, 100, seed, tmp_path))
    lengths = [len(Path(each.arguments["files"][0]).read_text().split()) for each in asked]
    assert max(lengths) > 5000


def test_an_engine_that_is_kept_small_for_each_request_takes_a_map_in_waves() -> None:
    machine = Machine("a100", "llama-2-13b", max_running=128)
    names = ["latency_per_request", "two_requests", "fcfs", "application_aware"]
    found = bench("parrot_50", names, [0.02], 1, 0, machine, Console(quiet=True))["0.02"]
    mean_s = {name: found[name]["mean_s"] for name in names}
    assert mean_s["two_requests"] > mean_s["latency_per_request"] > 1.5 * mean_s["fcfs"]
    assert mean_s["application_aware"] <= 1.01 * mean_s["fcfs"]
