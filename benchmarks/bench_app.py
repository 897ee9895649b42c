"""Sample apps, plain against optimized: interleaved runs on the real models, medians and the ratio.

    python benchmarks/bench_app.py [--pairs 5]

Each run has a question of its own, so that no prompt cache of the run before decides. The last
line is one JSON object per app: {"app", "plain_s", "optimized_s", "speedup", "answers_equal", ...}.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runtime.events import Event  # noqa: E402
from samples import advanced_rag, doc_qa  # noqa: E402

FILES = [str(ROOT / "samples/data/sqlite")]
APPS: dict[str, Any] = {"doc_qa": doc_qa.ask, "advanced_rag": advanced_rag.rag}


@dataclass
class Series:
    """What the runs of one app in one mode gave."""

    seconds: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    prefilled: list[int] = field(default_factory=list)
    cached: list[int] = field(default_factory=list)
    decoded: list[int] = field(default_factory=list)


def run_once(app: Any, question: str, optimize: bool, series: Series) -> None:
    """One run, timed from call to answer."""
    ends: list[Event] = []
    hear: Callable[[Event], None] = lambda e: ends.append(e) if e.kind == "end" else None  # noqa: E731
    began = time.perf_counter()
    answer = app.using(optimize=optimize, listener=hear)(question=question, files=FILES)
    series.seconds.append(time.perf_counter() - began)
    series.answers.append(answer)
    for name, values in (
        ("prefill_tokens", series.prefilled),
        ("cached_tokens", series.cached),
        ("decode_tokens", series.decoded),
    ):
        values.append(sum(event.fields[name] for event in ends))


def questions(count: int) -> list[str]:
    """Distinct questions on the sample's documents."""
    lines = (ROOT / "samples/data/questions.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line)["question"] for line in lines]
    return [asked[i % len(asked)] + " " * (i // len(asked)) for i in range(count)]


def measure(app: Any, pairs: int) -> tuple[Series, Series]:
    """Runs in the order plain, optimized, optimized, plain ...; the first pair only warms up."""
    plain, optimized = Series(), Series()
    for i, question in enumerate(questions(pairs + 1)):
        modes = [(False, plain), (True, optimized)]
        for optimize, series in modes if i % 2 else reversed(modes):
            run_once(app, question, optimize, Series() if i == 0 else series)
    return plain, optimized


def summary(name: str, plain: Series, optimized: Series) -> dict[str, Any]:
    """The JSON object of one app."""
    plain_s, optimized_s = map(statistics.median, (plain.seconds, optimized.seconds))
    ratios = [a / b for a, b in zip(plain.seconds, optimized.seconds, strict=True)]
    return {
        "app": name,
        "plain_s": round(plain_s, 3),
        "optimized_s": round(optimized_s, 3),
        "speedup": round(statistics.median(ratios), 3),
        "answers_equal": plain.answers == optimized.answers,
        "pairs": len(ratios),
        "prefilled": [statistics.median(plain.prefilled), statistics.median(optimized.prefilled)],
        "cached": [statistics.median(plain.cached), statistics.median(optimized.cached)],
        "decoded": [statistics.median(plain.decoded), statistics.median(optimized.decoded)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    rows = [summary(name, *measure(app, args.pairs)) for name, app in APPS.items()]
    table = Table("app", "plain s", "optimized s", "speedup", "equal", "prefilled", "cached")
    for row in rows:
        table.add_row(
            row["app"],
            f"{row['plain_s']:.2f}",
            f"{row['optimized_s']:.2f}",
            f"{row['speedup']:.2f}x",
            str(row["answers_equal"]),
            " / ".join(f"{n:.0f}" for n in row["prefilled"]),
            " / ".join(f"{n:.0f}" for n in row["cached"]),
        )
    Console().print(table)
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
