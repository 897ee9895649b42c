"""Sample apps, plain against optimized: interleaved runs on the real models, medians and ratios.

    python benchmarks/bench_app.py [--pairs 5] [--apps advanced_rag,...] [--load] [--ablation]
                                   [--baseline]

Before each run the LLM's prefix cache is emptied, and nothing is remembered (`memo=False`), so no
run lives on the work of another; `bench_session.py` measures what remembering brings.
`--load`: Poisson arrivals, mean latency. `--ablation`: each pass left out, and each alone.
`--baseline`: the advanced RAG written by hand with asyncio on the same engines. The last lines are
JSON: one object an app, with app, plain_s, optimized_s, speedup, answers_equal.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.hand_apps import HandSession
from runtime.events import Event
from samples import (
    advanced_rag,
    chain_summary,
    contextual_retrieval,
    doc_qa,
    map_reduce_summary,
    search_agent,
)
from teola import PASSES
from teola.runner import default_runner

DOCUMENTS = [str(ROOT / "samples/data/sqlite")]
FEW_DOCUMENTS = [str(ROOT / "samples/data/sqlite" / f"{name}.md") for name in ("lts", "autoinc")]
QUESTIONS = [
    json.loads(line)["question"]
    for line in (ROOT / "samples/data/questions.jsonl").read_text(encoding="utf-8").splitlines()
]


@dataclass(frozen=True)
class Case:
    """An app and its arguments for the i-th run."""

    app: Any
    arguments: Callable[[int], Mapping[str, Any]]


def _asked(files: Sequence[str] | None) -> Callable[[int], Mapping[str, Any]]:
    given = {} if files is None else {"files": list(files)}
    return lambda i: {"question": QUESTIONS[i % len(QUESTIONS)], **given}


CASES: dict[str, Case] = {
    "doc_qa": Case(doc_qa.ask, _asked(DOCUMENTS)),
    "advanced_rag": Case(advanced_rag.rag, _asked(DOCUMENTS)),
    "contextual_retrieval": Case(contextual_retrieval.ask, _asked(FEW_DOCUMENTS)),
    "search_agent": Case(search_agent.agent, lambda i: {}),  # noqa: ARG005
    "map_reduce_summary": Case(map_reduce_summary.summarize, lambda i: {}),  # noqa: ARG005
    "chain_summary": Case(chain_summary.summarize, lambda i: {}),  # noqa: ARG005
}


@dataclass
class Series:
    """What the runs of one app in one way gave."""

    seconds: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    prefilled: list[int] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)


def flush() -> None:
    """Empty the prefix caches of all LLM engines that are loaded."""
    for scheduler in default_runner()._runtime._engines.schedulers.values():
        forget = getattr(scheduler.engine, "flush_cache", None)
        if forget is not None:
            forget()


def run_once(case: Case, i: int, series: Series, **options: Any) -> None:
    """One run, timed from call to answer."""
    ends: list[Event] = []

    def hear(event: Event) -> None:
        if event.kind == "end":
            ends.append(event)

    flush()
    began = time.perf_counter()
    answer = case.app.using(listener=hear, memo=False, **options)(**case.arguments(i))
    series.seconds.append(time.perf_counter() - began)
    series.answers.append(answer)
    for name, values in (
        ("prefill_tokens", series.prefilled),
        ("cached_tokens", series.cached),
        ("decode_tokens", series.decoded),
    ):
        values.append(sum(event.fields[name] for event in ends))


def interleave(runs: Mapping[str, Callable[[int, Series], None]], pairs: int) -> dict[str, Series]:
    """All ways in turn, in changing order; the first round only warms up."""
    series = {name: Series() for name in runs}
    for i in range(pairs + 1):
        order = list(runs) if i % 2 else list(reversed(runs))
        for name in order:
            runs[name](i, Series() if i == 0 else series[name])
    return series


def ratio(slow: Series, fast: Series) -> float:
    """Median of the ratios of runs that stood side by side."""
    ratios = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return round(statistics.median(ratios), 3)


def bench(name: str, case: Case, pairs: int) -> dict[str, Any]:
    """The JSON object of one app at one query."""
    found = interleave(
        {
            "plain": lambda i, s: run_once(case, i, s, optimize=False),
            "optimized": lambda i, s: run_once(case, i, s),
        },
        pairs,
    )
    plain, optimized = found["plain"], found["optimized"]
    return {
        "app": name,
        "plain_s": round(statistics.median(plain.seconds), 3),
        "optimized_s": round(statistics.median(optimized.seconds), 3),
        "speedup": ratio(plain, optimized),
        "answers_equal": plain.answers == optimized.answers,
        "pairs": pairs,
        "prefilled": [statistics.median(s.prefilled) for s in (plain, optimized)],
        "cached": [statistics.median(s.cached) for s in (plain, optimized)],
        "decoded": [statistics.median(s.decoded) for s in (plain, optimized)],
    }


def bench_load(name: str, case: Case, rate_hz: float, count: int) -> dict[str, Any]:
    """Mean latency at Poisson arrivals, the same arrivals in both modes; twice each, A B B A."""

    async def run(optimize: bool) -> float:
        arrivals = random.Random(7)
        app = case.app.using(optimize=optimize, memo=False)

        async def one(i: int, at_s: float) -> float:
            await asyncio.sleep(at_s)
            began = time.perf_counter()
            await app.arun(**case.arguments(i))
            return time.perf_counter() - began

        times, at_s = [], 0.0
        for _ in range(count):
            at_s += arrivals.expovariate(rate_hz)
            times.append(at_s)
        return statistics.mean(await asyncio.gather(*(one(i, t) for i, t in enumerate(times))))

    means: dict[bool, list[float]] = {False: [], True: []}
    for optimize in (False, True, True, False):
        flush()
        means[optimize].append(asyncio.run(run(optimize)))
    plain, optimized = (statistics.mean(means[optimize]) for optimize in (False, True))
    return {
        "app": name,
        "rate_hz": round(rate_hz, 3),
        "queries": count,
        "plain_mean_s": round(plain, 3),
        "optimized_mean_s": round(optimized, 3),
        "speedup": round(plain / optimized, 3),
    }


def ablation(name: str, case: Case, pairs: int) -> list[dict[str, Any]]:
    """All passes; each left out; each alone: the ratio of the plain run to it."""
    unique = list(dict.fromkeys(PASSES))
    ways: dict[str, tuple[Any, ...]] = {"all": PASSES}
    for one in unique:
        ways[f"without {one.__name__}"] = tuple(p for p in PASSES if p is not one)
    for one in unique:
        ways[f"only {one.__name__}"] = (one,)
    runs: dict[str, Callable[[int, Series], None]] = {
        way: (lambda i, s, passes=passes: run_once(case, i, s, passes=passes))  # type: ignore[misc]
        for way, passes in ways.items()
    }
    runs["plain"] = lambda i, s: run_once(case, i, s, optimize=False)
    found = interleave(runs, pairs)
    return [
        {"app": name, "passes": way, "speedup": ratio(found["plain"], found[way])} for way in ways
    ]


def baseline(case: Case, pairs: int) -> dict[str, Any]:
    """The optimized advanced RAG against the same app written by hand with asyncio."""

    def by_hand(i: int, series: Series) -> None:
        arguments = case.arguments(i)
        flush()
        began = time.perf_counter()
        answer = HandSession("advanced_rag", f"by hand {i}").ask(**arguments)
        series.seconds.append(time.perf_counter() - began)
        series.answers.append(answer)

    found = interleave({"hand": by_hand, "optimized": lambda i, s: run_once(case, i, s)}, pairs)
    hand, optimized = found["hand"], found["optimized"]
    return {
        "app": "advanced_rag",
        "hand_s": round(statistics.median(hand.seconds), 3),
        "optimized_s": round(statistics.median(optimized.seconds), 3),
        "speedup_over_hand": ratio(hand, optimized),
        "answers_equal": hand.answers == optimized.answers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--apps", default=",".join(CASES))
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--rate", type=float, help="queries/s; default: one a plain run")
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--baseline", action="store_true")
    args = parser.parse_args()
    names = args.apps.split(",")
    extra: list[dict[str, Any]] = []
    table = Table("app", "plain s", "optimized s", "speedup", "equal", "prefilled", "decoded")
    rows = []
    for name in names:
        row = bench(name, CASES[name], args.pairs)
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
        table.add_row(
            row["app"],
            f"{row['plain_s']:.2f}",
            f"{row['optimized_s']:.2f}",
            f"{row['speedup']:.2f}x",
            str(row["answers_equal"]),
            " / ".join(f"{n:.0f}" for n in row["prefilled"]),
            " / ".join(f"{n:.0f}" for n in row["decoded"]),
        )
        if args.load:
            rate_hz = args.rate or 1 / row["plain_s"]
            extra.append(bench_load(name, CASES[name], rate_hz, args.queries))
    if args.ablation:
        extra += ablation("advanced_rag", CASES["advanced_rag"], max(1, args.pairs // 2))
    if args.baseline:
        extra.append(baseline(CASES["advanced_rag"], args.pairs))
    Console().print(table)
    for row in [*extra, *rows]:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
