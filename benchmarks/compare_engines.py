"""teola's engine beside other engines on this machine, interleaved in one run: compare the ratios.

    python benchmarks/compare_engines.py [--engines teola,openvino,vllm,llamacpp,llamacpp-q4_0]
                                         [--isa avx2] [--trials 3] [--folder FOLDER]
                                         [--option KEY=VALUE]

Each peer gets an environment of its own under FOLDER (the user's cache by default), made on the
first run: OpenVINO GenAI from pip (reads the GGUF), vLLM's CPU build (the project's own
environment; the GGUF as a bfloat16 folder), llama.cpp's server compiled for this CPU from the
sources in llama-cpp-python's sdist (needs cmake and a C++ compiler; minutes), with the same file
and with its weights as Q4_0, which it repacks. `--isa` limits teola to that instruction set and the
peers as far as they can be (`peers/making.py`). A peer that cannot be made or run is reported and
left out. Rows and method are in `engine_rows.py`; shares of the machine's limit in
`machine_limits.py`. The last line is one JSON object: engine, row, median; and "isa".
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.llm.loader import open_model
from backends.models.cache import cache_folder
from backends.models.fetch import locate
from backends.native.instruction_sets import isas_here
from benchmarks.bench_engine import teola_worker
from benchmarks.engine_rows import (
    FALLS,
    ROWS,
    Prompts,
    Worker,
    describe,
    ending,
    interleave,
    medians,
    text_ids,
)
from benchmarks.machine_limits import measure, shares
from benchmarks.peers.making import LIMITS, MAKERS

console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", default=",".join(("teola", *MAKERS)))
    parser.add_argument("--isa", choices=("avx2", "avxvnni", "avx512"))
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "peers")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    names = args.engines.split(",")
    if unknown := set(names) - {"teola", *MAKERS}:
        parser.error(f"no engine is called {', '.join(sorted(unknown))}")
    args.folder.mkdir(parents=True, exist_ok=True)
    workers: list[Worker] = []
    with ending(workers):
        for name in names:
            try:
                workers.append(make(name, args))
                with console.status(f"starting {name}"):
                    workers[-1].start()
                console.print(f"{name}: loaded in {workers[-1].load_s:.1f} s {workers[-1].facts}")
            except Exception as error:  # whatever a peer's making or loading raises
                workers[:] = [worker for worker in workers if worker.name != name]
                leave_out(name, describe(error))
        with console.status("warming up") as status:
            for done in interleave(workers, Prompts(text_ids()), args.trials):
                status.update(done)
    for worker in workers:
        if worker.failure is not None:
            leave_out(worker.name, worker.failure)
    show([worker for worker in workers if worker.failure is None], args.trials, args.isa)


def make(name: str, args: argparse.Namespace) -> Worker:
    if name != "teola":
        if args.isa is not None:
            console.print(f"{name} limited to {args.isa} by: {LIMITS[name]}")
        return MAKERS[name](args.folder, args.isa)
    worker = teola_worker(name, args.option)
    if args.isa is not None:
        worker.env = {**os.environ, "TEOLA_ISA": args.isa}
    return worker


def leave_out(name: str, reason: str) -> None:
    console.print(f"{name} is left out: {reason}", style="red", markup=False)


def show(workers: list[Worker], trials: int, isa: str | None) -> None:
    results = {worker.name: medians(worker) for worker in workers}
    isa = isa or isas_here()[0]
    limit: dict[str, float] = {}
    if ours := next((worker for worker in workers if worker.name == "teola"), None):
        limits = measure(isa)
        console.print(f"limits of this machine ({isa}): {asdict(limits)}")
        config = open_model(locate("smollm2-135m")).config
        limit = shares(config, limits, ours.facts, results["teola"])
    console.print(as_table(results, limit, f"{isa}, medians of {trials} trials"))
    rounded = {n: {k: round(v, 4) for k, v in r.items()} for n, r in results.items()}
    print(json.dumps({**rounded, "isa": isa}))


def as_table(results: dict[str, dict[str, float]], limit: dict[str, float], title: str) -> Table:
    table = Table(title=f"{title}; x = teola is that many times as good")
    table.add_column("row")
    for name in results:
        table.add_column(name, justify="right")
    table.add_column("teola's share of the limit", justify="right")
    for row in (*ROWS, "load_s", "peak_rss_mb"):
        cells = [cell(results, name, row) for name in results]
        table.add_row(row, *cells, f"{limit[row]:.0%}" if row in limit else "")
    return table


def cell(results: dict[str, dict[str, float]], name: str, row: str) -> str:
    shown = f"{results[name][row]:.4g}"
    if "teola" not in results or name == "teola":
        return shown
    ratio = results["teola"][row] / results[name][row]
    return f"{shown}  {1 / ratio if row in FALLS else ratio:.2f}x"


if __name__ == "__main__":
    main()
