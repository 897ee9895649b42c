"""Human approval: the approver of a run is asked before something happens."""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from frontend_dsl.agents.errors import ApprovalNeeded, ApprovalPending
from frontend_dsl.approver import current_approver, current_run
from frontend_dsl.breaks import run_of_async_app
from frontend_dsl.components import PYTHON
from frontend_dsl.tracer import tracing
from graph_opt.graph import Json

T = TypeVar("T")
_asking = threading.Lock()  # one question at a time: an answer belongs to the one that is seen

Approver = Callable[..., Any]  # (question, subject) -> whether it may happen; may be async


@overload
async def approve(question: str, subject: Any = None) -> bool: ...
@overload
async def approve(question: str, subject: Any = None, *, returns: type[T]) -> T: ...
async def approve(question: str, subject: Any = None, *, returns: Any = bool) -> Any:
    """Ask the approver of the run, in an `async def` app: `await tl.approve("Publish?", draft)`.

    That is the function of `app.using(approve=...)`, called with the question and the subject; it
    may be `async`, and gives True, or False or None; a ValueError says so of anything else, such as
    the text "no". Without one the terminal asks. What ran before is not run again. Where there is
    neither, a stored run ends with ApprovalPending, and `teola approve` answers and goes on, in
    another process, whenever that is; a run that is not stored raises ApprovalNeeded.

    With `returns` the answer is a value of that type instead of yes or no, as in
    `await tl.approve("Which title?", drafts, returns=str)`. An answer that is none is asked for
    again, saying why; of the function of `using(approve=)` it is a ValueError.
    """
    if returns is bool:
        value = await _answer(question, subject, {}, _approver(question, ask_at_terminal))
        return _decision(question, value)
    from pydantic import TypeAdapter, ValidationError  # late: it would double teola's import time

    adapter = TypeAdapter[Any](returns)
    wanted: Json = adapter.json_schema()
    asked = question
    while True:
        approver = _approver(question, ask_value_at_terminal)
        value = await _answer(asked, subject, {"answer": wanted}, approver)
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            problem = f"{value!r} is not valid: {_first_of(error.errors()[0])}"
            if not isinstance(current_approver(), Nobody | None):
                raise ValueError(f"{question!r}: the answer {problem}") from None
            asked = f"{question} ({problem})"


def _decision(question: str, value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise ValueError(
        f"{question!r}: the approver answered {value!r}, which is neither True nor False, so "
        "nothing was approved"
    )


def _first_of(found: Mapping[str, Any]) -> str:
    where = ".".join(map(str, found["loc"]))
    return f"{where}: {found['msg']}" if where else str(found["msg"])


async def _answer(question: str, subject: Any, more: Mapping[str, Json], approver: Approver) -> Any:
    run = run_of_async_app("tl.approve()")
    tracer = tracing("tl.approve()")
    with tracer.call("approve"):
        attrs: dict[str, Json] = {
            "fn": tracer.symbols.value("approve", approver),
            "asks": True,
            "engine": tracer.symbols.engine(PYTHON),
            **more,
        }
        value = tracer.emit("call", (question, subject), attrs, "approve", Any if more else bool)
    return await run.resolve(value)


def _approver(question: str, ask: Approver) -> Approver:
    """The approver of the run; without one what asks at the terminal."""
    if (approver := current_approver()) is not None:
        return approver
    if not sys.stdin or not sys.stdin.isatty():
        if (run_id := current_run()) is not None:
            return Nobody(run_id)
        raise ApprovalNeeded(
            f"{question!r} needs approval, and there is no terminal to ask at: run it with "
            ".using(approve=a function of the question and its subject)"
        )
    return ask


@dataclass(frozen=True, slots=True)
class Nobody:
    """The approver of a stored run that has none: its run ends, and waits on the disk."""

    run: str  # as commands name it

    def __call__(self, question: str, subject: Any) -> bool:  # noqa: ARG002 - as approvers have it
        raise ApprovalPending(self.run, question)


def ask_at_terminal(question: str, subject: Any) -> bool:
    """Show the subject and wait for a person's answer."""
    shown = "" if subject is None else f"{subject}\n"
    with _asking:
        print(f"\n{shown}{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def ask_value_at_terminal(question: str, subject: Any) -> Any:
    """Show the subject and wait for a value: JSON, or a text as it is."""
    shown = "" if subject is None else f"{subject}\n"
    with _asking:
        print(f"\n{shown}{question} ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
    if not line:
        raise ApprovalNeeded(f"{question!r} needs an answer, and the terminal has ended")
    try:
        return json.loads(line)
    except ValueError:
        return line.rstrip("\n")
