"""An app called inside another app: its nodes become a part of the outer graph."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from frontend_dsl.app_function import AppFunction
from frontend_dsl.breaks import AsyncRun, is_awaited, not_awaited, run_of_async_app
from frontend_dsl.errors import TraceError
from frontend_dsl.nested import NestedApp, emit_nested
from frontend_dsl.program import RunOptions
from frontend_dsl.recovery import limited
from frontend_dsl.signature import ArgumentError, bind
from frontend_dsl.symbols import replacing
from frontend_dsl.tracer import current
from frontend_dsl.where import user_frame


def inline(
    function: AppFunction,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: RunOptions,
    nested: Callable[[], NestedApp],
) -> Any:
    """What the app returns, traced here; of an `async def` app a coroutine, or where nothing can
    be awaited the value of a session of its own, as `nested` says.

    Arguments that are known are checked; engines are replaced. Raises ArgumentError and TraceError
    with the caller's line.
    """
    arguments = _checked(function, args, kwargs)
    check_options(function.name, options)
    if function.is_async and not is_awaited():
        return emit_nested(nested(), arguments)
    if function.is_async:
        run = run_of_async_app(f"app {function.name}()")
        coroutine: Any = _awaited(run, function, arguments, options)
        coroutine.__name__ = coroutine.__qualname__ = function.name  # for who forgets to await it
        return coroutine
    tracer = current()
    assert tracer is not None, "an app is inlined only while another one is traced"
    with (
        replacing(function.name, options.engines, function.variables),
        tracer.call(function.name),
        not_awaited(),
    ):
        if options.timeout_s is not None:
            call = partial(function.call, **arguments)
            return limited(function.name, options.timeout_s, call)
        with tracer.inside():
            return function.call(**arguments)


def check_options(name: str, options: RunOptions) -> None:
    """Refuse what a part of another app cannot keep, rather than drop it."""
    for option, usual in (("salt", None), ("memo", True)):
        given = getattr(options, option)
        if given != usual:
            problem = (
                f"app {name}() has {option}={given!r}, which a part of another app cannot keep: "
                f"call {name}.using({option}={usual})() here, and set {option} on the app around it"
            )
            raise TraceError(problem, *user_frame())


def _checked(
    function: AppFunction, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        bound = bind(function.name, function.parameters, args, kwargs, is_inlined=True)
    except ArgumentError as error:
        file, line = user_frame()
        raise ArgumentError(f"{file}:{line}: {error}") from None
    return {**bound.static, **bound.symbolic}


async def _awaited(
    run: AsyncRun, function: AppFunction, arguments: Mapping[str, Any], options: RunOptions
) -> Any:
    with replacing(function.name, options.engines, function.variables):
        return await run.inline(function.name, function.call, arguments, options.timeout_s)
