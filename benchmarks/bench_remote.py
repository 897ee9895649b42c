"""Apps over HTTP: teola optimised and plain, asyncio with the openai client, LangGraph.

    pip install -e '.[bench]'; teola engine install vllm --cpu
    python benchmarks/bench_remote.py [--rounds 5] [--apps advanced_rag,...] [--only emulated|vllm]

(a) `emulated`: llama-2-7b, bge-large and bge-reranker-large on an emulated RTX 3090 each, which is
what the Teola paper measured on, behind `teola serve-engine` processes of their own. (b) `vllm`: a
vLLM server on this machine's CPU serves the samples' LLM; embedder and reranker run in a `teola
serve-engine`.

All ways send real HTTP requests to the same servers, in turn and in changing order; each run has a
salt of its own, so none finds the KV of another, and nothing is remembered between runs. Seconds
are medians; the first round only warms up and counts tokens, by events that teola's timed runs
do not ask for. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.remote import apps, asyncio_apps, langgraph_apps
from benchmarks.remote.clients import Clients, Cost, Servers
from benchmarks.remote.servers import emulated_servers, vllm_servers
from runtime.events import Event
from samples import (
    contextual_retrieval,
    judge,
    map_reduce_summary,
    search_agent,
)
from teola.runner import default_runner

DATA = ROOT / "samples/data"
DOCUMENTS = [str(DATA / "sqlite")]
FEW_DOCUMENTS = [str(DATA / "sqlite" / f"{name}.md") for name in ("lts", "autoinc")]
MEETING = [str(DATA / "qmsum/meeting.txt")]
ARTICLE = [str(DATA / "sqlite/whyc.md")]
QUESTIONS = [
    json.loads(line)["question"]
    for line in (DATA / "questions.jsonl").read_text(encoding="utf-8").splitlines()
]
NOBEL = "who got the first nobel prize in physics"
WAYS = ("plain", "teola", "asyncio", "langgraph")


@dataclass(frozen=True)
class Case:
    """An app and its arguments for the i-th round."""

    app: Any
    arguments: Callable[[int], Mapping[str, Any]]


def _asked(files: Sequence[str]) -> Callable[[int], Mapping[str, Any]]:
    return lambda i: {"question": QUESTIONS[i % len(QUESTIONS)], "files": list(files)}


CASES: dict[str, Case] = {
    "advanced_rag": Case(apps.advanced_rag, _asked(DOCUMENTS)),
    "naive_rag": Case(apps.naive_rag, _asked(DOCUMENTS)),
    "search_agent": Case(search_agent.agent, lambda i: {"question": NOBEL}),  # noqa: ARG005
    "map_reduce_summary": Case(map_reduce_summary.summarize, lambda i: {"files": MEETING}),  # noqa: ARG005
    "contextual_retrieval": Case(contextual_retrieval.ask, _asked(FEW_DOCUMENTS)),
    "judge": Case(judge.judge, lambda i: {"files": ARTICLE}),  # noqa: ARG005
}


@dataclass
class Series:
    """What the runs of one app in one way gave."""

    seconds: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return round(statistics.median(self.seconds), 4)


class Bench:
    """All ways of one set of servers, on one event loop: the one of teola's runner."""

    def __init__(self, servers: Servers, engines: Mapping[str, str], name: str) -> None:
        self._clients = Clients(servers)
        self._engines = engines
        self._name = name
        self._graphs: dict[str, Any] = {}

    def run(self, way: str, app: str, i: int, series: Series) -> None:
        """One run, timed from call to answer."""
        salt = f"{self._name} {app} {way} {i}"
        arguments = CASES[app].arguments(i)
        if way in ("plain", "teola"):
            self._by_teola(app, arguments, series, salt, optimize=way == "teola", counts=i == 0)
        elif way == "asyncio":
            self._by_client(
                lambda: asyncio_apps.APPS[app](self._clients, **arguments), series, salt
            )
        else:
            self._by_client(lambda: self._langgraph(app, arguments), series, salt)

    def close(self) -> None:
        default_runner()._background.wait(self._clients.close())

    def _by_teola(
        self,
        app: str,
        arguments: Mapping[str, Any],
        series: Series,
        salt: str,
        *,
        optimize: bool,
        counts: bool,
    ) -> None:
        cost = Cost()

        def hear(event: Event) -> None:
            if event.kind == "end":
                _add_up(cost, event)

        case = CASES[app].app
        engines = {n: url for n, url in self._engines.items() if n in _engine_names(case)}
        bound = case.using(memo=False, optimize=optimize, engines=engines, salt=salt)
        if counts:
            bound = bound.using(listener=hear)
        began = time.perf_counter()
        answer = bound(**arguments)
        series.seconds.append(time.perf_counter() - began)
        series.answers.append(_text(answer))
        series.costs.append(cost)

    def _by_client(self, ask: Callable[[], Awaitable[str]], series: Series, salt: str) -> None:
        async def timed() -> None:
            began = time.perf_counter()
            series.answers.append(await ask())
            series.seconds.append(time.perf_counter() - began)

        self._clients.begin(salt)
        default_runner()._background.wait(timed())
        series.costs.append(self._clients.cost)

    async def _langgraph(self, app: str, arguments: Mapping[str, Any]) -> str:
        if app not in self._graphs:
            self._graphs[app] = langgraph_apps.APPS[app](self._clients)
        return str((await self._graphs[app].ainvoke(dict(arguments)))["answer"])


def _add_up(cost: Cost, event: Event) -> None:
    fields = event.fields
    cost.prompt_tokens += fields["prefill_tokens"] + fields["cached_tokens"]
    cost.cached_tokens += fields["cached_tokens"]
    cost.decoded_tokens += fields["decode_tokens"]
    is_ahead = event.op == "prefill" and fields["prefill_tokens"] + fields["cached_tokens"] > 0
    cost.requests += is_ahead or event.op in ("decode", "generate", "embed", "rerank")


def _engine_names(app: Any) -> frozenset[str]:
    return frozenset(app._program_for((), {}).engines)


def _text(answer: Any) -> str:
    return str(getattr(answer, "value", answer))


def bench(made: Bench, app: str, rounds: int) -> dict[str, Any]:
    """The JSON object of one app."""
    first = {way: Series() for way in WAYS}
    series = {way: Series() for way in WAYS}
    for i in range(rounds + 1):
        order = [*WAYS[i % len(WAYS) :], *WAYS[: i % len(WAYS)]]
        for way in order:
            made.run(way, app, i, first[way] if i == 0 else series[way])
    answers = [one.answers for one in series.values()]
    row: dict[str, Any] = {f"{way}_s": series[way].median_s for way in WAYS}
    row["answers_equal"] = all(given == answers[0] for given in answers)
    for way in ("plain", "asyncio", "langgraph"):
        pairs = zip(series[way].seconds, series["teola"].seconds, strict=True)
        row[f"over_{way}"] = round(statistics.median(a / b for a, b in pairs), 3)
    for count in ("prefilled_tokens", "requests", "decoded_tokens"):
        row[count] = {way: getattr(first[way].costs[0], count) for way in WAYS}
    if not row["answers_equal"]:
        row["answers"] = {way: one.answers for way, one in series.items()}
    return row


def table_of(rows: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    table = Table(
        "app",
        *(f"{way} s" for way in WAYS),
        "over plain / asyncio / langgraph",
        "equal",
        title=title,
    )
    for app, row in rows.items():
        ratios = " / ".join(
            f"{row[f'over_{way}']:.2f}" for way in ("plain", "asyncio", "langgraph")
        )
        seconds = [f"{row[f'{way}_s']:.3f}" for way in WAYS]
        table.add_row(app, *seconds, ratios, str(row["answers_equal"]))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--apps", default=",".join(CASES))
    parser.add_argument("--only", choices=("emulated", "vllm"))
    args = parser.parse_args()
    kinds = {"emulated": emulated_servers, "vllm": vllm_servers}
    found: dict[str, dict[str, Any]] = {}
    for kind, start in kinds.items():
        if args.only not in (None, kind):
            continue
        found[kind] = {}
        with start() as (servers, engines):
            print(json.dumps({"servers": asdict(servers)}), file=sys.stderr, flush=True)
            made = Bench(servers, engines, kind)
            for app in args.apps.split(","):
                found[kind][app] = bench(made, app, args.rounds)
                print(json.dumps({kind: {app: found[kind][app]}}), file=sys.stderr, flush=True)
            made.close()
        Console().print(table_of(found[kind], kind))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
