"""The applications of `bench_scheduling.py`, their inputs, and when they arrive.

Each query has a document of its own, so that no KV is shared but that of instructions.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import teola as tl
from benchmarks.remote.apps import advanced_rag, naive_rag
from benchmarks.scheduling.published import PARROT
from samples.advanced_rag import llm

DATA = Path(__file__).resolve().parents[2] / "samples/data"
QUESTIONS = ("What was decided?", "Who disagrees?", "What comes next?", "How does it work?")


@tl.app
def map_reduce(files: list[str]) -> str:
    """Summarize each part of a document side by side, then the summaries."""
    parts = tl.split(tl.load(files), chunk_tokens=512, overlap=0)
    return tl.synthesize(llm, None, parts, mode="map_reduce", part_tokens=48, max_tokens=96)


@tl.app
def chain(files: list[str]) -> str:
    """Four calls, each on the answer of the one before."""
    parts = tl.split(tl.load(files), chunk_tokens=256, overlap=0)
    return tl.synthesize(llm, None, parts, mode="refine", k=4, max_tokens=48)


ALONE: Mapping[str, Any] = {
    "naive_rag": naive_rag,
    "advanced_rag": advanced_rag,
    "map_reduce": map_reduce,
    "chain": chain,
}
APPS: Mapping[str, Any] = {**ALONE, **PARROT}
LONGEST = 10_000  # words: the samples have 11,000
SPREAD = {"naive_rag": 0.6, "advanced_rag": 0.6, "map_reduce": 1.2, "chain": 0.6}
SWEPT: Mapping[str, Sequence[str]] = {**{name: (name,) for name in ALONE}, "mixed": (*ALONE,)}
WORKLOADS: Mapping[str, Sequence[str]] = {**SWEPT, **{name: (name,) for name in PARROT}}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A query and when it comes."""

    at_s: float
    app: str
    arguments: Mapping[str, Any]


class Documents:
    """Pieces of the samples' texts, as files: each query reads another one."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self._folder = folder
        self._draw = draw
        self._count = 0

    def take(self, num_words: int) -> str:
        words = _words()
        begin = self._draw.randrange(len(words) - num_words)
        path = self._folder / f"{self._count}.txt"
        self._count += 1
        path.write_text(" ".join(words[begin : begin + num_words]), encoding="utf-8")
        return str(path)


@cache
def _words() -> Sequence[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(DATA.glob("sqlite/*.md"))]
    texts += [path.read_text(encoding="utf-8") for path in sorted(DATA.glob("qmsum/*.txt"))]
    return " ".join(texts).split()


def arrivals(
    apps: Sequence[str], rate: float, count: int, seed: int, folder: Path
) -> Iterator[Arrival]:
    """`count` queries of the apps, drawn evenly, as a Poisson process of `rate` a second."""
    draw = random.Random(seed)
    documents = Documents(folder, draw)
    at_s = 0.0
    for _ in range(count):
        at_s += draw.expovariate(rate)
        app = draw.choice(apps)
        arguments: dict[str, Any] = {"files": [documents.take(_length(app, draw))]}
        if app in ("naive_rag", "advanced_rag"):
            arguments["question"] = draw.choice(QUESTIONS)
        yield Arrival(at_s, app, arguments)


def _length(app: str, draw: random.Random) -> int:
    """Words of a document."""
    if app in PARROT:
        return LONGEST
    num_words = round(draw.lognormvariate(7.0, SPREAD[app]))  # the median document has 1,100
    return min(max(num_words, 300), LONGEST)
