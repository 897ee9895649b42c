"""The canonical programs in three forms: teola, a loop of calls of an OpenAI client, LangGraph.

    pip install -e '.[bench]'
    python benchmarks/bench_programs.py [--pairs 3] [--programs chat,...] [--engine embedded]

`embedded`: teola with SmolLM2-135M in its own process, the others against `teola serve-engine` of
the same model. `emulated`: all three over HTTP against one emulated RTX 3090 with llama-2-7b. All
forms make the same calls, and their answers are compared. Prefix caching is on everywhere; each run
has a salt of its own, so none finds the KV of another, and teola remembers no answers.

The forms run in turn, in changing order. Seconds are medians and ratios medians of runs side by
side; the first round only warms up and counts tokens, by the engines' own counters. teola's hit
rate is low where it keeps a context and sends nothing again. CPU seconds, of this process and the
server, tell on a busy machine what the clock does not. The last line is JSON.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.programs import client_loop, langgraph_programs, ours
from benchmarks.programs.asking import AsyncClient, LoopClient
from benchmarks.programs.meters import EngineMeter, Meter, ServerMeter, Tokens, cpu_s
from benchmarks.remote.servers import EMULATED_LLM, models_of, served

WAYS = ("teola", "client", "langgraph")
EMBEDDED_LLM = "local:smollm2-135m"
CHAINS = ("chat", "react", "debate")  # nothing to do side by side: no slower is the target
TARGETS = {"chain": 0.95, "branches": 1.5}


@dataclass
class Series:
    """What the runs of one program in one form gave."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    answers: list[Sequence[str]] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return round(statistics.median(self.seconds), 4)


class Bench:
    """The three forms on one kind of engine."""

    def __init__(self, url: str, engine: str, meters: Mapping[str, Meter]) -> None:
        model = models_of(url)[0]
        self._engine = engine
        self._meters = meters
        self._loop_client = LoopClient(url, model)
        self._async_client = AsyncClient(url, model)
        self._loop = asyncio.Runner()
        self._graphs = {
            name: make(self._async_client) for name, make in langgraph_programs.PROGRAMS.items()
        }

    def run(self, way: str, name: str, salt: str, series: Series, *, counts: bool) -> None:
        """One run, timed from call to answer."""
        before = self._meters[way].read() if counts else Tokens()
        began, began_cpu_s = time.perf_counter(), cpu_s()
        answer = getattr(self, f"_by_{way}")(name, salt)
        series.seconds.append(time.perf_counter() - began)
        series.cpu_s.append(cpu_s() - began_cpu_s)
        series.answers.append(list(answer))
        if counts:
            series.tokens.append(self._meters[way].read() - before)

    def close(self) -> None:
        self._loop_client.close()
        self._loop.run(self._async_client.close())
        self._loop.close()

    def _by_teola(self, name: str, salt: str) -> Sequence[str]:
        app = ours.PROGRAMS[name].using(memo=False, salt=salt, engines={"llm": self._engine})
        return app(**ours.INPUTS[name])

    def _by_client(self, name: str, salt: str) -> Sequence[str]:
        self._loop_client.salt = salt
        return client_loop.PROGRAMS[name](self._loop_client)

    def _by_langgraph(self, name: str, salt: str) -> Sequence[str]:
        self._async_client.salt = salt
        return self._loop.run(langgraph_programs.run(self._graphs[name]))


@contextmanager
def embedded() -> Iterator[Bench]:
    with served(EMBEDDED_LLM) as url:
        ours.react.using(memo=False, engines={"llm": EMBEDDED_LLM})("Hm?")  # loads
        server = ServerMeter(url)
        meters = {"teola": EngineMeter(EMBEDDED_LLM), "client": server, "langgraph": server}
        yield Bench(url, EMBEDDED_LLM, meters)


@contextmanager
def emulated() -> Iterator[Bench]:
    with served(EMULATED_LLM) as url:
        server = ServerMeter(url)
        host = url.removeprefix("http://")
        yield Bench(url, f"teola://{host}?tokenizer=smollm2-135m", dict.fromkeys(WAYS, server))


ENGINES = {"embedded": embedded, "emulated": emulated}


def bench(made: Bench, name: str, pairs: int) -> dict[str, Any]:
    """The JSON object of one program."""
    first = {way: Series() for way in WAYS}
    series = {way: Series() for way in WAYS}
    for i in range(pairs + 1):
        turn = i % len(WAYS)
        for way in [*WAYS[turn:], *WAYS[:turn]]:
            into = first[way] if i == 0 else series[way]
            made.run(way, name, f"{name} {way} {i}", into, counts=i == 0)
    return row_of(name, first, series)


def row_of(name: str, first: Mapping[str, Series], series: Mapping[str, Series]) -> dict[str, Any]:
    answers = [given for way in WAYS for given in (*first[way].answers, *series[way].answers)]
    tokens = {way: first[way].tokens[0] for way in WAYS}
    row: dict[str, Any] = {f"{way}_s": series[way].median_s for way in WAYS}
    for way in ("client", "langgraph"):
        pairs = zip(series[way].seconds, series["teola"].seconds, strict=True)
        row[f"over_{way}"] = round(statistics.median(a / b for a, b in pairs), 3)
    row["prefilled"] = tokens["teola"].prefilled
    row["client_prefilled"] = tokens["client"].prefilled
    row["langgraph_prefilled"] = tokens["langgraph"].prefilled
    row["hit_rate"] = {way: tokens[way].hit_rate for way in WAYS}
    row["cpu_s"] = {way: round(statistics.median(series[way].cpu_s), 2) for way in WAYS}
    row["answers_equal"] = all(given == answers[0] for given in answers)
    row["target"] = TARGETS["chain" if name in CHAINS else "branches"]
    row["met"] = row["over_client"] >= row["target"]
    if not row["answers_equal"]:
        row["answers"] = {way: series[way].answers[0] for way in WAYS}
    return row


def table_of(rows: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    names = ("program", *(f"{way} s" for way in WAYS), "over client", "over LangGraph", "target")
    table = Table(
        *names, "CPU s", "prefilled", "hit rate", "equal", title=f"{title}: {' / '.join(WAYS)}"
    )
    for name, row in rows.items():
        prefilled = (row["prefilled"], row["client_prefilled"], row["langgraph_prefilled"])
        table.add_row(
            name,
            *(f"{row[f'{way}_s']:.3f}" for way in WAYS),
            f"{row['over_client']:.2f}",
            f"{row['over_langgraph']:.2f}",
            f"{row['target']:g} {'met' if row['met'] else 'missed'}",
            " / ".join(f"{row['cpu_s'][way]:.1f}" for way in WAYS),
            " / ".join(str(count) for count in prefilled),
            " / ".join(f"{row['hit_rate'][way]:.0%}" for way in WAYS),
            "yes" if row["answers_equal"] else "no",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--programs", default=",".join(ours.PROGRAMS))
    parser.add_argument("--engine", choices=tuple(ENGINES))
    args = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for kind in [args.engine] if args.engine else ENGINES:
        found[kind] = {}
        with ENGINES[kind]() as made:
            for name in args.programs.split(","):
                found[kind][name] = bench(made, name, args.pairs)
                print(json.dumps({kind: {name: found[kind][name]}}), file=sys.stderr, flush=True)
            made.close()
        Console(width=180).print(table_of(found[kind], kind))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
