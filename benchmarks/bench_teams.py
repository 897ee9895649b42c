"""A coding team of 4 to 16 engineers: prefilled tokens and latency, with and without sharing.

    python benchmarks/bench_teams.py [--files 4,8,16] [--repeats 2] [--engines URL,...]

The team of `samples/coding_team.py` writes a program four ways, with the same prompts and, as all
is greedy, the same answers:

    teola   the app: one graph, one context of requirements, design and files
    apart   the same calls at the same times, nothing shared: each computes its whole prompt
    client  the same calls at the same times, on an engine with a prefix cache
    loop    the same calls one by one, on an engine with a prefix cache

On the embedded engine the ways are interleaved in changing order, after a run that only warms up,
and medians are told; emulated engines run in virtual time, which is the same each time. No way
finds what another computed. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import teola as tl
from benchmarks.bench_app import flush
from benchmarks.team_calls import Client, Work, fresh_salt
from runtime.clock import now
from samples.coding_team import Team, coding_team
from teola.virtual import on_virtual_clock

EMBEDDED = "local:smollm2-135m"
EMULATED = "emulated:h100/llama-3.1-8b"
TASK = "a program that keeps a list of books"
TARGET = 0.5  # prefilled tokens, shared to not shared
PUBLISHED = {
    "over the throughput baseline": 2.45,  # Parrot, OSDI 2024, one A100, LLaMA 13B, 4 to 16 files
    "over itself without sharing": 2.35,
}
WAYS = ("teola", "apart", "client", "loop")

Build = Callable[[str], Awaitable[str]]


@dataclass(frozen=True)
class Setting:
    """An engine, and how much the members write on it."""

    url: str
    note_tokens: int
    file_tokens: int
    rounds: int

    @property
    def is_virtual(self) -> bool:
        return self.url.startswith("emulated:")

    def team(self, num_files: int) -> Team:
        long = {"output_tokens": 4 * self.file_tokens} if self.is_virtual else {}
        llm = tl.LLM(self.url, **long)  # so that max_tokens ends each answer
        return Team(llm, num_files, self.note_tokens, self.file_tokens)


@dataclass
class Series:
    """What the runs of one way took and gave."""

    seconds: list[float] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    def prefilled(self) -> float:
        return statistics.median(work.prefilled for work in self.works)


def way_of(way: str, setting: Setting, num_files: int) -> tuple[Build, Work]:
    """How the program is built, and what that took, known when it is."""
    team = setting.team(num_files)
    if way != "teola":
        client = Client(team, num_files, setting.rounds, way != "apart", way != "loop")
        return client.build, client.work
    work = Work()
    app = coding_team(team, num_files, setting.rounds)
    return app.using(memo=False, salt=fresh_salt(), listener=work.hear).arun, work


def run_once(way: str, setting: Setting, num_files: int, series: Series) -> None:
    clock = now if setting.is_virtual else time.perf_counter
    build, work = way_of(way, setting, num_files)

    async def timed() -> tuple[str, float]:
        began = clock()
        program = await build(TASK)
        return program, clock() - began

    flush()
    program, seconds = on_virtual_clock(timed) if setting.is_virtual else asyncio.run(timed())
    series.seconds.append(seconds)
    series.programs.append(program)
    series.works.append(work)


def bench(setting: Setting, num_files: int, repeats: int, ways: Sequence[str]) -> dict[str, Any]:
    """The figures of one size of team on one engine."""
    found = {way: Series() for way in ways}
    for number in range(1 if setting.is_virtual else repeats):
        for way in reversed(ways) if number % 2 else ways:
            run_once(way, setting, num_files, found[way])
    return row_of(found)


def row_of(found: Mapping[str, Series]) -> dict[str, Any]:
    """Seconds, tokens and, against each other way, the ratio of runs that stood side by side."""
    teola = found["teola"]
    row: dict[str, Any] = {f"{way}_s": round(each.median_s, 3) for way, each in found.items()}
    row |= {f"{way}_prefilled": each.prefilled() for way, each in found.items()}
    row["decoded"] = teola.works[0].decoded
    for way, each in found.items():
        if way != "teola":
            ratios = [a / b for a, b in zip(each.seconds, teola.seconds, strict=True)]
            row[f"speedup_over_{way}"] = round(statistics.median(ratios), 3)
            row[f"prefilled_to_{way}"] = round(teola.prefilled() / each.prefilled(), 3)
    programs = [program for each in found.values() for program in each.programs]
    row["programs_equal"] = all(program == programs[0] for program in programs)
    return row


def show(console: Console, results: Mapping[str, Mapping[str, Any]], ways: Sequence[str]) -> None:
    others = [way for way in ways if way != "teola"]
    columns = [*(f"{way} s" for way in ways), "prefilled", *(f"{w}'s" for w in others)]
    columns += [*(f"{w}/teola" for w in others), "equal"]
    for url, sizes in results.items():
        table = Table("files", *columns, title=url)
        for size, row in sizes.items():
            cells = [f"{row[f'{way}_s']:.2f}" for way in ways]
            cells += [f"{row[f'{way}_prefilled']:.0f}" for way in ways]
            cells += [f"{row[f'speedup_over_{way}']:.2f}x" for way in others]
            table.add_row(size, *cells, str(row["programs_equal"]))
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", default="4,8,16")
    parser.add_argument("--repeats", type=int, default=2, help="on engines in real time")
    parser.add_argument("--engines", default=f"{EMBEDDED},{EMULATED}")
    parser.add_argument("--ways", default=",".join(WAYS))
    args = parser.parse_args()
    sizes = [int(size) for size in args.files.split(",")]
    ways = args.ways.split(",")
    results: dict[str, dict[str, Any]] = {}
    for url in args.engines.split(","):
        is_virtual = url.startswith("emulated:")
        setting = Setting(url, 64, 256, 3) if is_virtual else Setting(url, 16, 32, 1)
        results[url] = {}
        if not is_virtual:
            run_once("client", setting, min(sizes), Series())
        for size in sizes:
            row = results[url][str(size)] = bench(setting, size, args.repeats, ways)
            print(json.dumps({url: {size: row}}), file=sys.stderr, flush=True)
    console = Console(width=150)
    show(console, results, ways)
    rows = [row for each in results.values() for row in each.values()]
    if "apart" in ways:
        worst = max(row["prefilled_to_apart"] for row in rows)
        said = "met" if worst <= TARGET else "missed"
        console.print(f"target: prefilled <= {TARGET:g}x of apart: {said} (most: {worst:g}x)")
    for what, ratio in PUBLISHED.items():
        console.print(f"Parrot's published figure, same kind of team: {ratio:g}x {what}")
    print(json.dumps({**results, "published": PUBLISHED, "target_prefilled": TARGET}))


if __name__ == "__main__":
    main()
