"""What a run waits for a person to answer, or what is in doubt in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from backends.errors import ConfigError
from runtime.errors import WrongAnswer
from runtime.run_store.rows import NodeRow, NodeState
from runtime.run_store.values import NotStorable, decode, encode

_SHOWN = 200  # characters of it in a list
NAME = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,200}"  # of who answers
_JSON: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


@dataclass(frozen=True, slots=True)
class Question:
    """A call of `tl.approve` that has no answer yet."""

    id: str  # which the answer names where several wait
    question: str
    subject: Any
    place: str
    since_s: float
    answer: Mapping[str, Any]  # JSON schema of what it asks for

    def check(self, value: Any) -> None:
        """Raises WrongAnswer for a value that is of another of JSON's types, as JSON writes it; the
        app looks closer."""
        wanted = self.answer.get("type")
        choices = self.answer.get("enum")
        try:
            encode(value)
            plain = to_jsonable_python(value, bytes_mode="base64", fallback=str)
        except (NotStorable, ValueError) as error:
            raise WrongAnswer(f"{self.question!r}: the answer cannot be kept: {error}") from error
        if (wanted is not None and not _is_a(plain, wanted)) or (choices and plain not in choices):
            what = f"one of {choices}" if choices else f"of JSON's type {wanted}"
            shown = json.dumps(plain)[:_SHOWN]
            raise WrongAnswer(f"{self.question!r} asks for an answer {what}, not {shown}")


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """What somebody answered to a question, kept for those who ask who did."""

    id: str  # of the question
    question: str
    value: Any  # None where it cannot be read again
    by: str  # as the one who answered said; empty: they did not
    when_s: float


def check_name(by: str) -> None:
    """Raises ConfigError for what is no name of who answers."""
    if by and not re.fullmatch(NAME, by):
        raise ConfigError(f"by={by[:_SHOWN]!r}: a name is 1 to 200 characters in one line")


def given_answer(asked: str, question: str, value: bytes, by: str, when_s: float) -> GivenAnswer:
    """As it is kept."""
    try:
        return GivenAnswer(asked, question, decode(value), by, when_s)
    except (NotStorable, ValueError, TypeError):
        return GivenAnswer(asked, question, None, by, when_s)


def _is_a(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    return isinstance(value, _JSON[wanted])


def question_of(row: NodeRow) -> Question:
    """What a primitive waits for."""
    try:
        asked, subject, *more = decode(row.value)
    except (NotStorable, ValueError, TypeError):  # damaged, or of a class that is gone
        asked, subject, more = f"{row.name} at %{row.place}", None, [{}]
    answer = more[0] if more else {"type": "boolean"}
    return Question(row.key.hex()[:16], str(asked), subject, row.place, row.when_s, answer)


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
