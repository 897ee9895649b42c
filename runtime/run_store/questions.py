"""What a run waits for a person to answer, or what is in doubt in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runtime.run_store.rows import NodeRow, NodeState
from runtime.run_store.values import NotStorable, decode

_SHOWN = 200  # characters of it in a list


@dataclass(frozen=True, slots=True)
class Question:
    """A call of `tl.approve` that has no answer yet."""

    id: str  # which the answer names where several wait
    question: str
    subject: Any
    place: str
    since_s: float


def question_of(row: NodeRow) -> Question:
    """What a primitive waits for."""
    try:
        asked, subject = decode(row.value)
    except (NotStorable, ValueError, TypeError):  # damaged, or of a class that is gone
        asked, subject = f"{row.name} at %{row.place}", None
    return Question(row.key.hex()[:16], str(asked), subject, row.place, row.when_s)


def told_of_open(rows: Sequence[tuple[str, NodeRow]]) -> dict[str, str]:
    """By run, for people, what it waits for first; an answer to wait for comes before a doubt."""
    found: dict[str, str] = {}
    for run, row in sorted(rows, key=lambda each: _turn(each[1])):
        found[run] = told(row)
    return found


def _turn(row: NodeRow) -> tuple[bool, float]:
    return row.state is NodeState.WAITING, -row.when_s


def told(row: NodeRow) -> str:
    """One of them."""
    if row.state is not NodeState.WAITING:
        return f"{row.name} at %{row.place} began and did not end"
    asked = question_of(row)
    shown = [asked.question] if asked.subject is None else [asked.question, str(asked.subject)]
    return ": ".join(shown)[:_SHOWN]
