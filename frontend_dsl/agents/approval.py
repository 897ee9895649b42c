"""Human approval: the approver of a run is asked before something happens."""

import sys
import threading
from collections.abc import Callable
from typing import Any

from frontend_dsl.agents.errors import ApprovalNeeded, ApprovalPending
from frontend_dsl.approver import current_approver, current_run
from frontend_dsl.breaks import run_of_async_app
from frontend_dsl.components import PYTHON
from frontend_dsl.tracer import tracing
from graph_opt.graph import Json

_asking = threading.Lock()  # one question at a time: an answer belongs to the one that is seen

Approver = Callable[..., Any]  # (question, subject) -> whether it may happen; may be async


async def approve(question: str, subject: Any = None) -> bool:
    """Ask the approver of the run, in an `async def` app: `await tl.approve("Publish?", draft)`.

    That is the function of `app.using(approve=...)`, called with the question and the subject; it
    may be `async`. Without one the terminal asks. What ran before is not run again. Where there is
    neither, a stored run ends with ApprovalPending, and `teola approve` answers and goes on, in
    another process, whenever that is; a run that is not stored raises ApprovalNeeded.
    """
    run = run_of_async_app("tl.approve()")
    approver = current_approver() or _terminal(question)
    tracer = tracing("tl.approve()")
    with tracer.call("approve"):
        attrs: dict[str, Json] = {
            "fn": tracer.symbols.value("approve", approver),
            "asks": True,
            "engine": tracer.symbols.engine(PYTHON),
        }
        value = tracer.emit("call", (question, subject), attrs, "approve", bool)
    return bool(await run.resolve(value))


def _terminal(question: str) -> Approver:
    if not sys.stdin or not sys.stdin.isatty():
        if (run_id := current_run()) is not None:
            return _nobody(run_id)
        raise ApprovalNeeded(
            f"{question!r} needs approval, and there is no terminal to ask at: run it with "
            ".using(approve=a function of the question and its subject)"
        )
    return ask_at_terminal


def _nobody(run_id: str) -> Approver:
    """The approver of a stored run that has none: its run ends, and waits on the disk."""

    def nobody(question: str, subject: Any) -> bool:  # noqa: ARG001 - as approvers have it
        raise ApprovalPending(run_id, question)

    return nobody


def ask_at_terminal(question: str, subject: Any) -> bool:
    """Show the subject and wait for a person's answer."""
    shown = "" if subject is None else f"{subject}\n"
    with _asking:
        print(f"\n{shown}{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
