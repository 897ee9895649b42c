"""Tool calls on BFCL: well-formed calls and accuracy, constrained by schemas and not.

    python benchmarks/bench_tools.py [--limit 20] [--data FOLDER] [--llm local:smollm2-135m]

Cases of the categories simple_python, multiple (one call is right) and irrelevance (none is) are
asked four ways, each ending at the first call:

    required  `tl.Agent` with tool_choice="required": the turn is a call that fits a schema
    auto      `tl.Agent` with tool_choice="auto": a text, or such a call
    begun     the same model unconstrained, its turn begun with the tag that opens a call
    free      the same model unconstrained

A call is well-formed if it is complete and fits the schema of a tool; it is right by the rules of
the leaderboard (`bfcl/match.py`). Irrelevance asks whether a model can do without a call, so it is
not asked the ways that force one. `data/bfcl` has a sample of the cases; --data takes whole files.
The last line is one JSON object.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import teola as tl
from benchmarks.bfcl.cases import CATEGORIES, SAMPLE, Case, cases
from benchmarks.bfcl.score import Tally
from benchmarks.bfcl.ways import Way, by_agent, freely

WAYS = ("required", "auto", "begun", "free")
CONSTRAINED = ("required", "auto")
FORCING = ("required", "begun")
AT_ONCE = 8


def way_of(name: str, llm: tl.LLM) -> Way:
    return by_agent(llm, name) if name in CONSTRAINED else freely(llm, name == "begun")


async def tally(asked: list[Case], way: Way, at_once: int = AT_ONCE) -> Tally:
    """What the turns of all cases are worth, so many of which are written side by side."""
    found, turns = Tally(), asyncio.Semaphore(at_once)

    async def one(case: Case) -> None:
        async with turns:
            calls = await way(case)
        found.add(case, calls)

    await asyncio.gather(*map(one, asked))
    return found


def bench(category: str, folder: Path, limit: int, llm: tl.LLM, names: list[str]) -> dict[str, Any]:
    """The rows of one category, by way."""
    asked = cases(category, folder, limit)
    rows: dict[str, Any] = {}
    for name in names:
        if category == "irrelevance" and name in FORCING:
            continue
        began = time.perf_counter()
        found = asyncio.run(tally(asked, way_of(name, llm)))
        rows[name] = {**found.row(), "seconds": round(time.perf_counter() - began, 1)}
        print(json.dumps({category: {name: rows[name]}}), file=sys.stderr, flush=True)
    return rows


def all_well_formed(results: dict[str, Any]) -> bool:
    """Whether each call of a constrained turn was well-formed."""
    shares = [
        row["well_formed"]
        for rows in results.values()
        for name, row in rows.items()
        if name in CONSTRAINED
    ]
    return all(share in (None, 1) for share in shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=20, help="cases of each category")
    parser.add_argument("--data", type=Path, default=SAMPLE, help="folder of BFCL's files")
    parser.add_argument("--llm", default="local:smollm2-135m")
    parser.add_argument("--ways", default=",".join(WAYS))
    args = parser.parse_args()
    llm = tl.LLM(args.llm)
    names = args.ways.split(",")
    results = {name: bench(name, args.data, args.limit, llm, names) for name in CATEGORIES}
    table = Table("category", "way", "cases", "calling", "well-formed", "accuracy", "s")
    for category, rows in results.items():
        for name, row in rows.items():
            share = row["well_formed"]
            shown = "-" if share is None else f"{share:.1%}"
            cells = (str(row["cases"]), str(row["calling"]), shown, f"{row['accuracy']:.1%}")
            table.add_row(category, name, *cells, f"{row['seconds']:.0f}")
    console = Console()
    console.print(table)
    said = "met" if all_well_formed(results) else "missed"
    console.print(f"target: 100 % well-formed calls where schemas constrain: {said}")
    print(json.dumps({**results, "all_well_formed": all_well_formed(results)}))


if __name__ == "__main__":
    main()
