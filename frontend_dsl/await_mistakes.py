"""What Python says of a missing or needless `await` in an `async def` app, with what to write."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from frontend_dsl.callables import written_function
from frontend_dsl.errors import TraceError
from frontend_dsl.where import short_path


def explained(error: Exception, function: Callable[..., Any]) -> Exception:
    """The error, or one that teaches, where the app's own line used a coroutine as a value or
    awaited what is none."""
    if not isinstance(error, (TypeError, AttributeError)):
        return error
    place = _last(error.__traceback__)
    if place is None or place.tb_frame.f_code is not written_function(function).__code__:
        return error
    problem = _problem(str(error))
    if problem is None:
        return error
    return TraceError(problem, short_path(place.tb_frame.f_code.co_filename), place.tb_lineno)


def _problem(said: str) -> str | None:
    if "object Value can't be used in 'await' expression" in said:
        return (
            "what is awaited here is a value of the app already: a prompt, tool or component gives "
            "one at once; write `await tl.value(...)` around the call for the real value"
        )
    if "'coroutine'" in said:
        return (
            f"a coroutine is used as a value ({said}): write `await` before tl.value(...), and "
            "before calls of `async def` functions"
        )
    return None


def _last(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace
