"""What keeping runs on disk costs: seconds a primitive, for pure work and for effects.

    python benchmarks/bench_runs.py [--items 1000] [--trials 5] [--folder FOLDER]

Maps of trivial Python tools, with and without `runs`, in turn; then the finished runs are resumed,
which answers every primitive from the file. The last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import teola as tl

TEXT = "word " * 60  # about what a prompt's answer has


@tl.tool(pure=True)
async def compute(text: str) -> str:
    return text.upper()


@tl.tool
async def act(text: str) -> str:
    return text.upper()


@tl.app
def pure(texts: list[str]) -> list[str]:
    return tl.map(compute, texts)


@tl.app
def effects(texts: list[str]) -> list[str]:
    return tl.map(act, texts)


def timed_s(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(app: "tl.App[[list[str]], list[str]]", texts: list[str], folder: str) -> list[float]:
    """Seconds without runs, with them, and of the resume."""
    plain = app.using(memo=False)
    alone_s = timed_s(lambda: plain(texts))
    kept_s = timed_s(lambda: plain.using(runs=folder)(texts))
    run_id = tl.runs(folder)[0].id
    resumed_s = timed_s(lambda: tl.resume(run_id, runs=folder, app=plain))
    return [alone_s, kept_s, resumed_s]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--folder", default=None, help="on the disk that is measured")
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for app, items in ((pure, args.items), (effects, max(1, args.items // 10))):
            texts = [f"{TEXT}{i}" for i in range(items)]
            rows = [measured(app, texts, folder) for _ in range(args.trials + 1)][1:]
            alone, kept, resumed = (statistics.median(row) for row in zip(*rows, strict=True))
            found[app.name] = {
                "alone_us": alone / items * 1e6,
                "kept_us": kept / items * 1e6,
                "resumed_us": resumed / items * 1e6,
                "bytes": tl.runs(folder)[0].num_bytes / items,
            }
    report(found)


def report(found: dict[str, dict[str, float]]) -> None:
    table = Table("us a primitive", "without runs", "kept", "resumed", "bytes kept")
    for name, row in found.items():
        table.add_row(name, *(f"{value:.0f}" for value in row.values()))
    Console().print(table)
    print(json.dumps({name: {k: round(v, 1) for k, v in r.items()} for name, r in found.items()}))


if __name__ == "__main__":
    main()
