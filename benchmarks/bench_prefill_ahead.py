"""Prompts computed in the order of a search while a reranker orders its documents, on real models.

    python benchmarks/bench_prefill_ahead.py [--questions 20] [--hits 20] [--k 3]

Questions about SQLite's documents, with the passages of a search, are asked two ways in turn, in
changing order: with `prefill_ahead` and without. Each way is a tenant of its own at each question
(`salt`), so the only KV that is found is the guess's. `read` is the share of the guessed tokens
that prompts then began with: it depends on the search and the reranker. The seconds are those of
one device, where the guess and the reranker take time from each other. TTFT counts from where the
prompt is known. The last line is JSON.
"""

import argparse
import json
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import teola as tl
from benchmarks.bench_session import ABOUT_SQLITE, DOCUMENTS
from runtime.events import Event

llm = tl.LLM("local:smollm2-135m", kv_tokens=131_072)
store = tl.Store("local:", embedder=tl.Embedder("local:all-minilm-l6-v2"))
reranker = tl.Reranker("local:maxsim")
WAYS = ("plain", "ahead")


@tl.prompt(llm, max_tokens=32, system="Answer the question from the passages.", stop="\n")
def write(docs: list[tl.Doc], question: str) -> str:
    return f"{tl.join(docs, '{text}')}\n\nQuestion: {question}"


@tl.app
def find(question: str, files: list[str], k: int) -> list[tl.Doc]:
    found = tl.split(tl.load(files), chunk_tokens=200, overlap=30)
    return store.index(found).search(question, k=k)


@tl.app
def answer(question: str, docs: list[tl.Doc], k: int) -> str:
    return write(reranker(question, docs, k=k), question)


@dataclass
class Series:
    """What the questions of one way took."""

    seconds: list[float] = field(default_factory=list)
    ttft_s: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    guessed: int = 0  # tokens
    wasted: int = 0


def ask(way: str, question: str, salt: str, docs: list[tl.Doc], k: int, own: Series) -> None:
    events: list[Event] = []
    app = answer.using(prefill_ahead=way == "ahead", salt=salt, listener=events.append)
    own.answers.append(app(question, docs, k))
    own.seconds.append(events[-1].t - events[0].t)
    at = {(event.kind, event.node): event.t for event in events}
    own.ttft_s.append(at["first_token", "write"] - at["ready", "write"])
    ended = {event.node: event.fields for event in events if event.kind == "end"}
    read = ended["write"]["cached_tokens"]
    wasted = ended["write"].get("wasted_tokens", 0)
    own.guessed += (read if way == "ahead" else 0) + wasted
    own.wasted += wasted


def row(own: Series) -> dict[str, Any]:
    return {
        "seconds": round(statistics.mean(own.seconds), 4),
        "ttft_s": round(statistics.mean(own.ttft_s), 4),
        "guessed": own.guessed,
        "wasted": own.wasted,
        "read": round(1 - own.wasted / own.guessed, 3) if own.guessed else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--hits", type=int, default=20)
    parser.add_argument("--k", type=int, default=3)
    args = parser.parse_args()
    for way in WAYS:
        question = "What is this?"
        docs = find(question, DOCUMENTS, args.hits)
        ask(way, question, f"warm up {way}", docs, args.k, Series())
    series = {way: Series() for way in WAYS}
    for number, question in enumerate(ABOUT_SQLITE[: args.questions]):
        docs, turn = find(question, DOCUMENTS, args.hits), number % len(WAYS)
        for way in (*WAYS[turn:], *WAYS[:turn]):
            ask(way, question, f"{way} {number}", docs, args.k, series[way])
    rows: dict[str, Any] = {way: row(own) for way, own in series.items()}
    rows["answers_equal"] = series["plain"].answers == series["ahead"].answers
    for way, own in rows.items():
        print(f"{way:14} {own}")
    print(json.dumps({"questions": args.questions, "hits": args.hits, "k": args.k, **rows}))


if __name__ == "__main__":
    main()
