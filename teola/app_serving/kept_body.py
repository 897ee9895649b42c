"""A run on the disk as clients see it while it has no answer."""

from time import time
from typing import Any, Literal

from pydantic_core import to_jsonable_python

from backends.base import Usage
from runtime.run_store.questions import GivenAnswer, Question
from runtime.run_store.served import ServedRun
from teola.app_serving.usage import counts_of

OpenStatus = Literal["running", "waiting", "interrupted"]


def open_status(found: ServedRun) -> OpenStatus:
    """Of a run without an answer: a process works on it, a person is asked, or neither."""
    if found.state == "running":
        return "running"
    return "waiting" if found.state == "waiting" and found.questions else "interrupted"


def body_of(found: ServedRun) -> dict[str, Any]:
    """What it used is told while it runs, and with its answer."""
    status = open_status(found)
    return {
        "id": found.row.id,
        "object": "run",
        "app": found.row.app,
        "created": int(found.row.began_s),
        **order_body(found.row.objective, found.row.due_s),
        "status": status,
        "result": None,
        "error": None,
        "waits_for": [*map(shown, found.questions)] if status == "waiting" else [],
        "answered": [*map(shown_answer, found.answers)],
        "usage": counts_of(Usage()).body,
        "seconds": round(max(0.0, time() - found.row.began_s), 4),
    }


def order_body(objective: str, due_s: float | None) -> dict[str, Any]:
    """What engines order a run by, as clients see it; null: as the app says."""
    return {"objective": objective or None, "due": None if due_s is None else int(due_s)}


def progress_of(found: ServedRun) -> dict[str, Any]:
    """What a list says of one that does not run here: what it finished."""
    done = found.num_done
    idle = {"failed": 0, "text_pieces": 0, "running": [], "num_running": 0, "waiting": {}}
    return {"done": done, "total": done, **idle}


def shown(question: Question) -> dict[str, Any]:
    """A question as clients see it."""
    return {
        "id": question.id,
        "question": question.question,
        "subject": _plain(question.subject),
        "answer": dict(question.answer),
        "since": int(question.since_s),
    }


def shown_answer(given: GivenAnswer) -> dict[str, Any]:
    """What somebody answered, as clients see it."""
    return {
        "id": given.id,
        "question": given.question,
        "value": _plain(given.value),
        "by": given.by or None,
        "at": int(given.when_s),
    }


def _plain(value: Any) -> Any:
    return to_jsonable_python(value, serialize_unknown=True, inf_nan_mode="null", fallback=str)
