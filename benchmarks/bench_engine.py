"""The embedded engine on the default model: prefill, decode, cached time to first token.

    python benchmarks/bench_engine.py [--trials 5] [--option dtype=float32] [--against weights=full]

`--against`: a second engine with other options, interleaved in the same run. Rows and method are in
`engine_rows.py`. The last line is one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.engine_rows import ROWS, Prompts, Worker, ending, interleave, medians, text_ids

WORKER = Path(__file__).parent / "peers/teola_worker.py"


def teola_worker(name: str, options: list[str]) -> Worker:
    """A worker of this project with engine options given as `key=value`."""
    pairs = dict(option.split("=", 1) for option in options)
    values = {key: int(value) if value.isdigit() else value for key, value in pairs.items()}
    return Worker(name, [sys.executable, str(WORKER), json.dumps(values)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--against", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    workers = [teola_worker("teola", args.option)]
    if args.against:
        workers.append(teola_worker(" ".join(args.against), args.against))
    console = Console()
    with ending(workers):
        for worker in workers:
            worker.start()
        with console.status("warming up") as status:
            for done in interleave(workers, Prompts(text_ids()), args.trials):
                status.update(done)
    for worker in workers:
        if worker.failure is not None:
            console.print(f"{worker.name} is left out: {worker.failure}", style="red", markup=False)
    if workers[0].failure is not None:
        raise SystemExit(1)
    workers = [worker for worker in workers if worker.failure is None]
    table = Table(title=f"medians of {args.trials} trials")
    table.add_column("row")
    for worker in workers:
        table.add_column(worker.name, justify="right")
    results = [medians(worker) for worker in workers]
    for row in (*ROWS, "load_s", "peak_rss_mb"):
        table.add_row(row, *(f"{result[row]:.4g}" for result in results))
    console.print(table)
    rounded = {row: round(value, 4) for row, value in results[0].items()}
    print(json.dumps({**rounded, "dtype": workers[0].facts["dtype"]}))


if __name__ == "__main__":
    main()
