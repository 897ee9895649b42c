"""Two apps on one LLM, and their queries at random times."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import teola as tl

TEXTS = Path(__file__).resolve().parents[2] / "samples/data"
QUESTIONS = ("What was decided?", "Who disagrees, and why?", "What comes next?")


@dataclass(frozen=True, slots=True)
class Asked:
    """A query and when it comes."""

    at_s: float
    app: str
    arguments: Mapping[str, Any]


def apps_on(llm: tl.LLM) -> Mapping[str, Any]:
    """A chain of two calls, and three side by side before a fourth."""

    @tl.prompt(llm, max_tokens=20)
    def draft(passage: str, question: str) -> str:
        return (
            "You answer questions about meetings. Be brief and say only what the passage says.\n\n"
            f"Passage: {passage}\n\nQuestion: {question}"
        )

    @tl.prompt(llm, max_tokens=16)
    def improve(question: str, answer: str) -> str:
        return f"Make this answer to the question '{question}' shorter and clearer:\n{answer}"

    @tl.prompt(llm, max_tokens=16)
    def note(passage: str) -> str:
        return f"Write down in a few words what this passage of a meeting is about.\n\n{passage}"

    @tl.prompt(llm, max_tokens=24)
    def combine(first: str, second: str, third: str) -> str:
        return f"Write a summary of these notes of a meeting:\n- {first}\n- {second}\n- {third}"

    @tl.app
    def chain(passage: str, question: str) -> str:
        return improve(question, draft(passage, question))

    @tl.app
    def notes(first: str, second: str, third: str) -> str:
        return combine(note(first), note(second), note(third))

    return {"chain": chain, "notes": notes}


def queries(rate: float, count: int, seed: int) -> list[Asked]:
    """A Poisson process of `rate` a second; every query has passages of its own."""
    draw, at_s = random.Random(seed), 0.0
    words = " ".join(p.read_text(encoding="utf-8") for p in sorted(TEXTS.glob("*/*.txt"))).split()
    asked = []
    for _ in range(count):
        at_s += draw.expovariate(rate)
        if draw.random() < 0.5:
            names, arguments = ("passage",), {"question": draw.choice(QUESTIONS)}
        else:
            names, arguments = ("first", "second", "third"), {}
        arguments |= {name: _passage(words, draw, 120 // len(names)) for name in names}
        asked.append(Asked(at_s, "chain" if len(names) == 1 else "notes", arguments))
    return asked


def _passage(words: Sequence[str], draw: random.Random, most: int) -> str:
    count = draw.randint(most // 4, most)
    begin = draw.randrange(len(words) - count)
    return " ".join(words[begin : begin + count])
