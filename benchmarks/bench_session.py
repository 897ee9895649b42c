"""A session: many questions over one corpus, on the real models.

    python benchmarks/bench_session.py [--questions 20] [--apps doc_qa,...] [--plans ...]

Each question is asked three ways in turn, in changing order: plain, optimized, and by a program
written by hand with asyncio that indexes once itself (`hand_apps.py`). The ways share the engines
but neither KV nor remembered work, since each is a tenant of its own (`salt`). Seconds are means
over the questions after the first. The bound is what the trace of the optimized run says no
schedule of the same work can beat: the longer of its critical path without waiting and the time
that its device worked.

Then the same questions about SQLite are answered from twelve passages each, with no KV reused, with
the prefix cache alone, and with KV cache fusion (`fused_session.py`). The last line is JSON.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from backends.base import Usage, total
from benchmarks import fused_session
from benchmarks.hand_apps import HandSession
from runtime.events import Event
from samples import advanced_rag, contextual_retrieval, doc_qa, search_agent
from teola.viewer.critical_path import critical_path
from teola.viewer.model import Span, Trace, TraceBuilder, total_usage

SQLITE = ROOT / "samples/data/sqlite"
DOCUMENTS = [str(SQLITE)]
FEW_DOCUMENTS = [str(SQLITE / f"{name}.md") for name in ("lts", "autoinc")]
ABOUT_SQLITE = (
    "Which page size does SQLite use by default since version 3.12.0?",
    "Until which year do the developers intend to support SQLite?",
    "What does the AUTOINCREMENT keyword prevent?",
    "Who may use the code of SQLite, and is a licence needed?",
    "What is the name of the file that holds the write-ahead log?",
    "In which programming language is SQLite written?",
    "What must all processes share for WAL mode to work?",
    "Does SQLite need a separate server process?",
    "What is a checkpoint?",
    "How large is the SQLite library?",
    "Is a database a single file?",
    "What happens when the largest ROWID is in use?",
    "Why was C chosen?",
    "How many devices run SQLite?",
    "Can readers and a writer work at the same time?",
    "What is the sqlite_sequence table for?",
    "Are backups of the source code kept?",
    "Does SQLite work on a network filesystem?",
    "How often are automatic checkpoints run?",
    "Can the page size of a database be changed?",
)
FOR_THE_WEB = (
    "who got the first nobel prize in physics",
    "when is the next deadpool movie being released",
    "Hello, how are you?",
    "where is the golden gate bridge",
    "who wrote the book eragon",
    "what is the opec",
    "Tell me something nice.",
    "when was super bowl xxxix played",
    "who plays hagrid in harry potter",
    "what is atp synthase",
    "who directed natural born killers",
    "where do the houston astros play",
    "what is a vanishing point in drawing",
    "Good morning!",
    "who won the melbourne cup",
    "what is the sahara",
    "when did the mayflower land",
    "what does dna stand for",
    "who sings seven nation army",
    "what is pi day",
)

TEXT_OPS = ("embed", "rerank")
PLANS = "reuse;lego(16);query(0.15);blend(0.15)"


@dataclass(frozen=True)
class Case:
    """An app, its arguments beside the question, and the questions."""

    app: Any
    questions: Sequence[str]
    arguments: Mapping[str, Any] = field(default_factory=dict)


CASES: dict[str, Case] = {
    "doc_qa": Case(doc_qa.ask, ABOUT_SQLITE, {"files": DOCUMENTS}),
    "advanced_rag": Case(advanced_rag.rag, ABOUT_SQLITE, {"files": DOCUMENTS}),
    "contextual_retrieval": Case(contextual_retrieval.ask, ABOUT_SQLITE, {"files": FEW_DOCUMENTS}),
    "search_agent": Case(search_agent.agent, FOR_THE_WEB),
}


@dataclass
class Series:
    """What the questions of one way took."""

    seconds: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)
    bounds_s: list[float] = field(default_factory=list)
    texts: int = 0  # embedded or compared

    @property
    def mean_s(self) -> float:
        return statistics.mean(self.seconds[1:])

    @property
    def usage(self) -> Usage:
        return total(self.usages)


Way = Callable[[str, Series], None]


def bound_s(trace: Trace) -> float:
    """The least time for the work that the trace shows: by its longest chain, and by its device."""
    path_s = sum(step.run_s for step in critical_path(trace).steps)
    return max(path_s, _busy_s(trace, [s for s in trace.spans if s.engine != "python"]))


def _busy_s(trace: Trace, spans: Sequence[Span]) -> float:
    busy, until = 0.0, 0.0
    ran = [(s.start_s, trace.end_of(s)) for s in spans if s.start_s is not None]
    for begin, end in sorted(ran):
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    return busy


def by_teola(case: Case, optimize: bool) -> Way:
    """One question to the app, with its trace."""

    def ask(question: str, series: Series) -> None:
        events: list[Event] = []
        salt = f"{case.app.name} {'optimized' if optimize else 'plain'}"
        app = case.app.using(optimize=optimize, listener=events.append, salt=salt)
        began = time.perf_counter()
        answer = app(question=question, **case.arguments)
        series.seconds.append(time.perf_counter() - began)
        series.answers.append(answer)
        builder = TraceBuilder()
        for event in events:
            builder(event)
        trace = builder.trace()
        series.usages.append(total_usage(trace.spans))
        series.texts += sum(span.usage.num_items for span in trace.spans if span.op in TEXT_OPS)
        series.bounds_s.append(bound_s(trace))

    return ask


def by_hand(name: str, case: Case) -> Way:
    """One question to the program written by hand."""
    session = HandSession(name, f"{name} by hand")

    def ask(question: str, series: Series) -> None:
        began = time.perf_counter()
        answer = session.ask(question=question, **case.arguments)
        series.seconds.append(time.perf_counter() - began)
        series.answers.append(answer)
        series.usages = [session.engines.usage]
        series.texts = session.engines.num_texts

    return ask


def bench(name: str, num_questions: int) -> dict[str, Any]:
    """The figures of one app."""
    case = CASES[name]
    warm_up(case)
    ways = {
        "plain": by_teola(case, False),
        "optimized": by_teola(case, True),
        "hand": by_hand(name, case),
    }
    series = {way: Series() for way in ways}
    for number, question in enumerate(case.questions[:num_questions]):
        turn = number % len(ways)
        for way in (*list(ways)[turn:], *list(ways)[:turn]):
            ways[way](question, series[way])
    answers = [each.answers for each in series.values()]
    optimized = series["optimized"]
    return {
        "plain_s": round(series["plain"].mean_s, 4),
        "optimized_s": round(optimized.mean_s, 4),
        "hand_s": round(series["hand"].mean_s, 4),
        "bound_s": round(statistics.mean(optimized.bounds_s[1:]), 4),
        "first_s": round(optimized.seconds[0], 4),
        "second_s": round(optimized.seconds[1], 4),
        "answers_equal": all(each == answers[0] for each in answers),
        "questions": num_questions,
        "work": {way: _work(each) for way, each in series.items()},
    }


def warm_up(case: Case) -> None:
    """Load the engines, on a corpus and a question that are not asked."""
    case.app.using(memo=False, salt="warm up")(
        question="What is this?", **{**case.arguments, **_small(case)}
    )


def _small(case: Case) -> dict[str, Any]:
    return {"files": [str(SQLITE / "onefile.md")]} if "files" in case.arguments else {}


def _work(series: Series) -> dict[str, int]:
    usage = series.usage
    return {
        "prefilled": usage.prefill_tokens,
        "cached": usage.cached_tokens,
        "decoded": usage.decode_tokens,
        "texts": series.texts,
        "remembered": usage.remembered_items,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--apps", default=",".join(CASES), help="may be empty")
    parser.add_argument("--plans", default=PLANS, help="of KV cache fusion, by semicolons")
    parser.add_argument("--passages", type=int, default=12, help="of a question, for the plans")
    args = parser.parse_args()
    columns = ("plain", "optimized", "hand", "bound", "first", "second")
    table = Table("app", *columns, "opt/bound", "opt/plain", "opt/hand", "first/second", "equal")
    rows: dict[str, Any] = {}
    for name in filter(None, args.apps.split(",")):
        row = rows[name] = bench(name, args.questions)
        print(json.dumps({name: row}), file=sys.stderr, flush=True)
        ratios = (
            row["optimized_s"] / row["bound_s"],
            row["optimized_s"] / row["plain_s"],
            row["optimized_s"] / row["hand_s"],
            row["first_s"] / row["second_s"],
        )
        cells = (f"{row[f'{column}_s']:.3f} s" for column in columns)
        table.add_row(name, *cells, *(f"{r:.2f}x" for r in ratios), str(row["answers_equal"]))
    console = Console(width=140)
    if rows:
        console.print(table)
    if plans := list(filter(None, args.plans.split(";"))):
        asked = list(ABOUT_SQLITE[: args.questions])
        rows["fusion"] = fused_session.bench(asked, DOCUMENTS, args.passages, plans)
        console.print(fusion_table(rows["fusion"]))
    print(json.dumps(rows))


def fusion_table(found: Mapping[str, Any]) -> Table:
    columns = ("TTFT", "to nothing", "to prefix", "seconds", "same text", "token F1", "computed")
    title = f"{found['questions']} questions, prompts of {found['prompt_tokens']} tokens"
    table = Table("reused", *columns, "chunks encoded", "encoding", title=title)
    for way, row in found["ways"].items():
        table.add_row(
            way,
            f"{row['ttft_s'] * 1e3:.0f} ms",
            f"{row['ttft_ratio']:.2f}x",
            f"{row['ttft_ratio_to_prefix']:.2f}x",
            f"{row['seconds']:.3f} s, {row['seconds_ratio']:.2f}x",
            f"{row['same_text']:.2f}",
            f"{row['token_f1']:.2f}",
            str(row["computed"]),
            str(row["encoded"]),
            f"{row['encode_s']:.1f} s",
        )
    return table


if __name__ == "__main__":
    main()
