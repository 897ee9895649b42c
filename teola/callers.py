"""Who a run's requests are for, as its options say: its tenant, its program and its deadline."""

from asyncio import get_running_loop
from dataclasses import replace
from itertools import count

from frontend_dsl.program import RunOptions
from runtime.caller import Caller
from runtime.clock import date

_programs = count(1)


def with_caller(options: RunOptions) -> RunOptions:
    """The options of a run; a run inside another one is of that one's program and deadline."""
    if options.caller is not None:
        return options
    left_s = _left_s(options)
    deadline_s = None if left_s is None else get_running_loop().time() + left_s
    tenant = options.tenant or options.salt or ""
    named = {"tenant": options.tenant, "deadline_s": left_s}
    given = tuple(name for name, value in named.items() if value is not None)
    return replace(options, caller=Caller(tenant, f"p{next(_programs)}", deadline_s, given))


def _left_s(options: RunOptions) -> float | None:
    """To its deadline; below 0 for a stored run that goes on after it."""
    due_s: float | None = options.stored and options.stored.run.due_s
    return options.deadline_s if due_s is None else due_s - date().timestamp()
