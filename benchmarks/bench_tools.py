"""Tool calls on BFCL: well-formed calls and accuracy, constrained by schemas and not.

    python benchmarks/bench_tools.py [--limit 20] [--data FOLDER] [--llm local:smollm2-135m]

Cases of the categories simple_python, multiple (one call is right), parallel (several are) and
irrelevance (none is) are asked in up to six ways. Four end at the first call:

    required  `tl.Agent` with tool_choice="required": the turn is a call that fits a schema
    auto      `tl.Agent` with tool_choice="auto": a text, or such a call
    begun     the same model unconstrained, its turn begun with the tag that opens a call
    free      the same model unconstrained

Two take the whole turn from `teola serve-engine`, for parallel with as many calls as the model
makes:

    client       the official openai client with tool_choice="required"
    client_auto  the same with tool_choice="auto"

A call is well-formed if it is complete and fits the schema of a tool; it is right by the rules of
the leaderboard (`bfcl/match.py`). Irrelevance asks whether a model can do without a call, so it is
not asked the ways that force one; parallel is asked those that take several. `data/bfcl` has a
sample of the cases; --data takes whole files. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import teola as tl
from benchmarks.bfcl.cases import CATEGORIES, SAMPLE, Case, cases
from benchmarks.bfcl.client import by_client
from benchmarks.bfcl.score import Tally
from benchmarks.bfcl.ways import Way, by_agent, freely
from benchmarks.remote.servers import models_of, served

OVER_HTTP = {"client": "required", "client_auto": "auto"}  # way -> tool_choice
CONSTRAINED = ("required", "auto", *OVER_HTTP)
FORCING = ("required", "begun", "client")
WAYS = ("required", "auto", "begun", "free", *OVER_HTTP)
AT_ONCE = 8

Rows = dict[str, Any]


def way_of(name: str, llm: tl.LLM) -> Way:
    return by_agent(llm, name) if name in CONSTRAINED else freely(llm, name == "begun")


def asked_in(category: str, way: str) -> bool:
    """Whether cases of the category are asked this way."""
    if category == "irrelevance":
        return way not in FORCING
    return category != "parallel" or way in OVER_HTTP


@contextmanager
def urls(llm: str, names: list[str]) -> Iterator[str]:
    """Of a server with the model, where a way asks one."""
    if not set(names) & set(OVER_HTTP):
        yield ""
        return
    with served(llm) as url:
        yield url


async def tally_over_http(asked: list[Case], url: str, choice: str, is_parallel: bool) -> Tally:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        return await tally(asked, by_client(client, models_of(url)[0], choice, is_parallel))


async def tally(asked: list[Case], way: Way, at_once: int = AT_ONCE) -> Tally:
    """What the turns of all cases are worth, so many of which are written side by side."""
    found, turns = Tally(), asyncio.Semaphore(at_once)

    async def one(case: Case) -> None:
        async with turns:
            calls = await way(case)
        found.add(case, calls)

    await asyncio.gather(*map(one, asked))
    return found


def bench(category: str, asked: list[Case], llm: tl.LLM, names: list[str], url: str) -> Rows:
    """The rows of one category, by way."""
    rows: Rows = {}
    for name in names:
        if not asked_in(category, name):
            continue
        began = time.perf_counter()
        if name in OVER_HTTP:
            is_parallel = category == "parallel"
            found = asyncio.run(tally_over_http(asked, url, OVER_HTTP[name], is_parallel))
        else:
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
    parser.add_argument("--categories", default=",".join(CATEGORIES))
    args = parser.parse_args()
    llm = tl.LLM(args.llm)
    names = args.ways.split(",")
    with urls(args.llm, names) as url:
        results = {
            name: bench(name, cases(name, args.data, args.limit), llm, names, url)
            for name in args.categories.split(",")
        }
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
