"""The texts of the sample apps' prompts, for programs that are written without teola."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backends.documents import Doc
from frontend_dsl.contextual import SITUATE
from frontend_dsl.synthesis import (
    ABOUT,
    ANSWER,
    IMPROVE,
    MERGE,
    MERGE_SUMMARIES,
    SUMMARIZE,
)
from samples import advanced_rag, judge, search_agent

SYSTEMS = {
    "expand": None,
    "improve": IMPROVE,
    "merge": MERGE,
    "judge": search_agent.judge.system,
    "search_words": search_agent.search_words.system,
    "chat": search_agent.chat.system,
    "read": ANSWER,
    "situate": SITUATE,
    "summarize": SUMMARIZE,
    "merge_summaries": MERGE_SUMMARIES,
    "assess": judge.assess.system,
    "grade": judge.grade.system,
}
QUERIES: dict[str, Any] = advanced_rag.expand._form.held_to["schema"]
KIND: dict[str, Any] = search_agent.judge._form.held_to["schema"]
GRADE: dict[str, Any] = judge.grade._form.held_to["schema"]
POINTS = judge.POINTS


def expand(question: str) -> str:
    return f"Write three short search queries, in other words, for: {question}"


def read(question: str, docs: Sequence[Doc]) -> str:
    passages = "\n\n".join(doc.text for doc in docs)
    return f"{passages}\n\nQuestion: {question}"


def improve(question: str, doc: Doc, answer: str) -> str:
    return f"New passage:\n{doc.text}\n\nAnswer so far: {answer}\n\nQuestion: {question}"


def merge(question: str, answers: Sequence[str]) -> str:
    text = "\n\n".join(answers)
    return f"{text}\n\nQuestion: {question}"


def kind(message: str) -> str:
    return str(search_agent.judge._function(message))


def situate(place: Any) -> str:
    return f"Document: {place.title}\n\n{place.around}\n\nPassage:\n{place.chunk.text}"


def summarize(text: str) -> str:
    return f"{text}\n\n{ABOUT}"


def merge_summaries(summaries: Sequence[str]) -> str:
    return summarize("\n\n".join(summaries))


def article(files: Sequence[str]) -> str:
    from backends.tools.load import load

    return "\n\n".join(doc.text for doc in load([str(Path(file)) for file in files]))


def assess(text: str, point: str) -> str:
    return f"{text}\n\nJudge the {point} of the article."


def grade(notes: Sequence[str]) -> str:
    notes_text = "\n".join(f"- {note}" for note in notes)
    return f"{notes_text}\n\nGrade:"
