"""Who a run's requests are for, as its options say: its tenant, its program and its deadline."""

from asyncio import get_running_loop
from dataclasses import replace
from itertools import count

from frontend_dsl.program import RunOptions
from runtime.caller import Caller

_programs = count(1)


def with_caller(options: RunOptions) -> RunOptions:
    """The options of a run; a run inside another one is of that one's program and deadline."""
    if options.caller is not None:
        return options
    deadline_s = None
    if options.deadline_s is not None:
        deadline_s = get_running_loop().time() + options.deadline_s
    tenant = options.tenant or options.salt or ""
    named = {"tenant": options.tenant, "deadline_s": options.deadline_s}
    given = tuple(name for name, value in named.items() if value is not None)
    return replace(options, caller=Caller(tenant, f"p{next(_programs)}", deadline_s, given))
