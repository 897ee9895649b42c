"""How true the simulator is: the embedded engine on this machine beside its emulation.

    python benchmarks/bench_fidelity.py [--only steps|replay|asleep] [--model local:smollm2-135m]

Steps. The embedded engine's steps are timed and a device is fitted to them, as `teola device
measure` does. Then others run that the fit has not seen: other batches, contexts and prompts, and
prompts computed beside decodes. The median of each shape counts. Targets: mean absolute error at
most 8 %, 95th percentile at most 15 %.

Replay. Queries of two apps come at random, so that the engine is busy for some 70 % of the time, in
several ways to order them; the engine has one thread, and the other core is for the runtime. What
they answer is recorded, and the same arrivals run on a virtual clock. Targets: mean JCT and TTFT
within 10 %, P90 within 15 %; of two ways that really differ by more than 10 % the emulation tells
the winner. The first way runs twice: what lies between these two runs nobody can foretell. `own` is
the replay on a device fitted to the run's own steps: what is off there is not the machine's.
`stopped` is the share of the real steps' seconds in which the engine's thread had no core.

Asleep. Some of them once more on a device that sleeps through its steps, so that it needs no core:
runtime, loop and the engine's thread are real. What is off there is what they take, with the
seconds between two steps and without.

Run it on an idle machine. Where others work beside it, in a scheduling group of its own:

    setsid -w bash -c 'echo -20 > /proc/self/autogroup; python benchmarks/bench_fidelity.py'

The real-time class (`chrt`) is worse: a thread that never rests is stopped for 50 ms a second.
The last line is one JSON object.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.fidelity.replay import compare, compare_asleep, is_near, ranking
from benchmarks.fidelity.steps import profile, rows_of

MOST_MAPE, MOST_P95 = 0.08, 0.15


def steps(model: str, dtype: str, console: Console) -> dict[str, Any]:
    with console.status(f"{dtype}: measuring") as status:
        rows = rows_of(profile(model, dtype, status.update))
    show(console, f"step times, dtype {dtype}", rows)
    held_out = rows["held out"]
    is_met = held_out["mape"] <= MOST_MAPE and held_out["p95"] <= MOST_P95
    return {**rows, "met": is_met}


def replay(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, console.status("measuring") as status:
        asked = args.model, args.load, args.queries, args.seed
        found = compare(*asked, Path(folder), status.update)
    rows = {name: beside.row() for name, beside in found.items()}
    for names in (slice(4), slice(4, 10), slice(10, 14), slice(14, None)):
        part = {way: dict(list(row.items())[names]) for way, row in rows.items()}
        show(console, "real, and emulated to real", part)
    near = {name: is_near(row) for name, row in rows.items()}
    return {"ways": rows, "near": near, "ranking": ranking(found)}


def asleep(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, console.status("measuring") as status:
        asked = args.model, args.load, args.queries, args.seed
        found = compare_asleep(*asked, Path(folder), status.update)
    show(console, "a device that sleeps, and emulated to it", found)
    return found


def show(console: Console, title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in next(iter(rows.values())):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.4g}" for value in row.values()))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("steps", "replay", "asleep"))
    parser.add_argument("--model", default="local:smollm2-135m")
    parser.add_argument("--dtypes", default="auto,bfloat16", help="of the steps")
    parser.add_argument("--load", type=float, default=0.7, help="share of the time with steps")
    parser.add_argument("--queries", type=int, default=60, help="of each way")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    console, found = Console(stderr=True), dict[str, Any]()
    if args.only in (None, "steps"):
        dtypes = args.dtypes.split(",")
        found["steps"] = {dtype: steps(args.model, dtype, console) for dtype in dtypes}
    if args.only in (None, "replay"):
        found["replay"] = replay(args, console)
    if args.only in (None, "asleep"):
        found["asleep"] = asleep(args, console)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
