"""A run on the disk that this process works on."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.run_store.questions import GivenAnswer, Question
from teola.app_serving.app_schema import AnyApp


@dataclass(frozen=True, slots=True)
class Kept:
    """Its app begins it, or goes on with it, when it is called with these arguments."""

    id: str
    app: AnyApp
    arguments: Mapping[str, Any]
    began_s: float
    due_s: float | None  # when its result is wanted
    questions: Callable[[], Awaitable[Sequence[Question]]]  # that it waits for, from any loop
    answers: Sequence[GivenAnswer] = ()  # that somebody gave before it went on
