"""How true the simulator is: the embedded engine on this machine beside its emulation.

    python benchmarks/bench_fidelity.py [--model local:smollm2-135m] [--dtypes auto,bfloat16]

Steps of the embedded engine are timed and a device is fitted to them, as `teola device measure`
does. Then others run that the fit has not seen: other batches, contexts and prompts, and prompts
computed beside decodes. The median of each shape counts. Targets: mean absolute error of a step at
most 8 %, 95th percentile at most 15 %. Run it on an idle machine. The last line is one JSON object.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.fidelity.steps import profile, rows_of

MOST_MAPE, MOST_P95 = 0.08, 0.15


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
    parser.add_argument("--model", default="local:smollm2-135m")
    parser.add_argument("--dtypes", default="auto,bfloat16")
    args = parser.parse_args()
    console = Console(stderr=True)
    found: dict[str, object] = {}
    for dtype in args.dtypes.split(","):
        with console.status(f"{dtype}: measuring") as status:
            profiled = profile(args.model, dtype, status.update)
        rows = rows_of(profiled)
        show(console, f"step times, dtype {dtype}", rows)
        held_out = rows["held out"]
        is_met = held_out["mape"] <= MOST_MAPE and held_out["p95"] <= MOST_P95
        found[dtype] = {**rows, "met": is_met}
    print(json.dumps({"steps": found}))


if __name__ == "__main__":
    main()
