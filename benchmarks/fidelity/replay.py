"""Ways to order queries, each for real and emulated: are their figures near, and who wins?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any

from backends.emulated.between_steps import gaps_between_steps, typical_gap_s
from backends.emulated.fit import fit
from backends.emulated.hardware import Device
from backends.emulated.measure import (
    Stepper,
    as_toml,
    calibration_round,
    shape_of_model,
)
from backends.llm.loader import load_core
from backends.llm.options import LLMOptions
from backends.models.fetch import resolve
from benchmarks.fidelity.load import Asked, queries
from benchmarks.fidelity.runs import (
    THREADS,
    WARM_UP,
    Run,
    Way,
    run_asleep,
    run_emulated,
    run_really,
)
from benchmarks.fidelity.steps import MEMORY_BYTES
from benchmarks.fidelity.watched import Watched
from teola.simulation.served import percentile

WAYS: Mapping[str, Way] = {
    "fcfs": Way(),
    "application_aware": Way("application_aware", {"policy": "application_aware"}),
    "two at a time": Way(options={"max_running": 2}),
    "chunks of 32": Way(options={"token_budget": 32}),
}
ASLEEP = ("fcfs", "two at a time", "chunks of 32")
AGAIN = "fcfs again"  # how far two real runs of the same are apart
TIMES = ("jct_mean_s", "jct_p90_s", "ttft_mean_s", "ttft_p90_s")
MOST_MEAN, MOST_P90 = 0.10, 0.15  # errors
REAL_GAP = 0.10  # between two ways, of which the winner must be told
SURE = 1e6  # queries a second: all at once


@dataclass(frozen=True, slots=True)
class Beside:
    """One way, for real, emulated, and emulated on a device whose steps are those of the real run:
    what is off there is not the machine's."""

    real: Run
    emulated: Run
    own: Run

    def row(self) -> dict[str, float]:
        """Ratios are emulated to real."""
        real, ours, own = map(figures, (self.real, self.emulated, self.own))
        ratios = {f"{name[:-2]}_ratio": round(ours[name] / real[name], 3) for name in TIMES}
        own_ratios = {f"own_{name[:-2]}_ratio": round(own[name] / real[name], 3) for name in TIMES}
        counted = {f"{name}_off": ours[name] - real[name] for name in real if name not in TIMES}
        busy = {
            "busy_ratio": round(self.emulated.busy_s / self.real.busy_s, 3),
            "stopped": round(self.real.watched.stopped_s / self.real.busy_s, 4),
        }
        times = {name: real[name] for name in TIMES}
        return {**times, **ratios, **busy, **own_ratios, **counted}


class Machine:
    """This machine and a model on it; each measurement writes a device file."""

    def __init__(self, model: str, folder: Path) -> None:
        core = load_core(resolve(model), LLMOptions(threads=THREADS))
        self._core, self._stepper = core, Stepper(core)
        self._shape = shape_of_model(core.model.config)
        self._name, self._folder = model.partition(":")[2], folder

    def measure(self) -> Watched:
        return Watched(calibration_round(self._stepper), gaps_between_steps(self._core))

    def url(self, name: str, seen: Sequence[Watched]) -> str:
        """Of the emulated LLM whose steps are as these."""
        steps = [step for each in seen for step in each.steps]
        between_s = typical_gap_s([gap for each in seen for gap in each.gaps])
        device = fit(steps, self._shape, MEMORY_BYTES, "this machine", between_s)
        return self._written(name, device)

    def _written(self, name: str, device: Device) -> str:
        path = self._folder / f"{name}.toml"
        path.write_text(as_toml(device), encoding="utf-8")
        return f"emulated:{path}/{self._name}"


def compare(
    model: str, load: float, count: int, seed: int, folder: Path, tell: Callable[[str], None]
) -> dict[str, Beside]:
    """Every way. The device is measured before and after each real run, for machines drift; all
    these steps together are its profile."""
    machine = Machine(model, folder)
    measured = [machine.measure()]
    asked = _at_load(machine.url("first", measured), load, count, seed)
    real: dict[str, Run] = {}
    ways = {**WAYS, AGAIN: WAYS["fcfs"]}
    for name, way in ways.items():
        tell(name)
        real[name] = run_really(model, asked, way, folder / f"{name}.jsonl")
        measured.append(machine.measure())
    url = machine.url("all", measured)
    found = {}
    for name, way in ways.items():
        said, own = folder / f"{name}.jsonl", machine.url(name, [real[name].watched])
        runs = [run_emulated(each, asked, way, said) for each in (url, own)]
        found[name] = Beside(real[name], *runs)
    return found


def compare_asleep(
    model: str, load: float, count: int, seed: int, folder: Path, tell: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Some ways on a device that sleeps as long as the measured machine takes: ratios with and
    without the seconds between two steps."""
    machine = Machine(model, folder)
    url = machine.url("asleep", [machine.measure()])
    asked = _at_load(url, load, count, seed)
    found: dict[str, dict[str, float]] = {}
    for name in ASLEEP:
        tell(f"asleep, {name}")
        real, way = run_asleep(url, asked, WAYS[name]), WAYS[name]
        steps = Watched(real.watched.steps)
        runs = [run_emulated(machine.url(name, [w]), asked, way) for w in (real.watched, steps)]
        ours, without, theirs = (figures(run) for run in (*runs, real))
        found[name] = {"jct_mean_s": theirs["jct_mean_s"]}
        found[name] |= {f"{t[:-2]}_ratio": round(ours[t] / theirs[t], 3) for t in TIMES}
        found[name] |= {f"{t[:-2]}_without": round(without[t] / theirs[t], 3) for t in TIMES}
        found[name]["between_ms"] = round(1e3 * typical_gap_s(real.watched.gaps), 3)
    return found


def _at_load(url: str, load: float, count: int, seed: int) -> list[Asked]:
    """Queries that keep the device busy for that share of the time, first come first served."""
    at_once = run_emulated(url, queries(SURE, WARM_UP + count, seed), Way(), None)
    rate = load * (WARM_UP + count) / at_once.busy_s
    spread = run_emulated(url, queries(rate, WARM_UP + count, seed), Way(), None)
    return queries(load * (WARM_UP + count) / spread.busy_s, WARM_UP + count, seed)


def figures(run: Run) -> dict[str, Any]:
    jct, ttft = sorted(s.jct_s for s in run.served), sorted(s.ttft_s for s in run.served)
    times = (mean(jct), percentile(jct, 90), mean(ttft), percentile(ttft, 90))
    return {
        **{name: round(value, 4) for name, value in zip(TIMES, times, strict=True)},
        "prefill_tokens": sum(s.prefill_tokens for s in run.served),
        "cached_tokens": sum(s.cached_tokens for s in run.served),
        "decode_tokens": sum(s.decode_tokens for s in run.served),
        "preemptions": run.preemptions,
    }


def is_near(row: Mapping[str, float]) -> bool:
    """Whether the emulated times are within the targets."""
    limits = {name: MOST_MEAN if "mean" in name else MOST_P90 for name in TIMES}
    return all(abs(row[f"{name[:-2]}_ratio"] - 1) <= limit for name, limit in limits.items())


def ranking(found: Mapping[str, Beside]) -> dict[str, Any]:
    """Pairs of ways that really differ, by more than two runs of the same do, and those of them
    whose winner the emulation tells."""
    pairs, wrong = 0, []
    for measure in ("jct_mean_s", "ttft_mean_s"):
        real = {name: figures(beside.real)[measure] for name, beside in found.items()}
        ours = {name: figures(beside.emulated)[measure] for name, beside in found.items()}
        noise = _apart(real[AGAIN], real["fcfs"]) if AGAIN in real else 1.0
        for a, b in combinations((name for name in found if name != AGAIN), 2):
            if _apart(real[a], real[b]) > max(1 + REAL_GAP, noise):
                pairs += 1
                if (real[a] > real[b]) != (ours[a] > ours[b]):
                    wrong.append([measure, a, b, real[a] / real[b], ours[a] / ours[b]])
    return {"pairs": pairs, "agree": pairs - len(wrong), "wrong": wrong}


def _apart(a: float, b: float) -> float:
    return max(a / b, b / a)
