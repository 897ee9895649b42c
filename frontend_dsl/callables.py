"""What may stand behind a decorator: a function, method, partial, or object that can be called."""

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any, get_type_hints

from frontend_dsl.errors import DefinitionError
from frontend_dsl.type_hints import hints_of
from frontend_dsl.where import short_path, user_frame


def written_function(call: Any, kind: str = "app") -> FunctionType:
    """The Python function whose text a call runs. Raises DefinitionError if there is none."""
    found = inspect.unwrap(call) if callable(call) else call
    if isinstance(found, FunctionType):
        return found
    if isinstance(found, partial):
        return written_function(found.func, kind)
    if isinstance(found, MethodType):
        return written_function(found.__func__, kind)
    if callable(found) and not isinstance(found, type):
        inner = type(found).__call__
        if isinstance(inner, FunctionType):
            return inner
    raise DefinitionError(_not_one(found, kind), *user_frame())


def _not_one(found: object, kind: str) -> str:
    if isinstance(found, classmethod):
        return f"@tl.{kind} stands above @classmethod; write @classmethod above @tl.{kind}"
    if isinstance(found, type):
        return f"the class {found.__name__} is no {kind}; decorate a method of it"
    what = getattr(found, "__name__", None) or repr(found)
    return f"{what} is no {kind}: @tl.{kind} takes a Python function or an object with __call__"


def check_form(call: Callable[..., Any]) -> None:
    """Raises DefinitionError for a function that makes a generator."""
    function = written_function(call)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(
            f"app {name_of(call)}() has `yield`: an app returns its result, and .stream() gives "
            "its events",
            *place_of_function(call),
        )


def name_of(call: Callable[..., Any]) -> str:
    """How an app is called in graphs and messages."""
    if isinstance(call, partial):
        return name_of(call.func)
    return str(getattr(call, "__name__", None) or type(call).__name__)


def is_coroutine_function(call: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine, also for an object with `async def __call__`."""
    return inspect.iscoroutinefunction(call) or (
        not isinstance(call, (FunctionType, MethodType, partial))
        and inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004
    )


def result_type(call: Any) -> Any:
    """The declared type of what a call gives, or Any."""
    if isinstance(call, type):
        return call
    if isinstance(call, partial):
        return result_type(call.func)
    written = call if hasattr(call, "__annotations__") else getattr(call, "__call__", None)  # noqa: B004
    try:
        if isinstance(written, FunctionType):
            return hints_of(written).get("return", Any)
        return get_type_hints(written).get("return", Any)
    except (NameError, TypeError):  # a name that stands nowhere, or a built-in function
        return Any


def takes_receiver(call: Callable[..., Any]) -> bool:
    """Whether a function was written in a class body and takes `self` (or `cls`) first."""
    if not isinstance(call, FunctionType):
        return False
    outer = call.__qualname__.rpartition(".")[0]
    first = next(iter(inspect.signature(call).parameters.values()), None)
    if not outer or outer.endswith("<locals>") or first is None:
        return False
    return first.name in ("self", "cls") or first.annotation is first.empty


def variables_of(call: Callable[..., Any]) -> Mapping[str, Any]:
    """The variables of the module that a function was written in."""
    function = written_function(call)
    module = sys.modules.get(function.__module__)
    return function.__globals__ if module is None else vars(module)


def place_of_function(call: Callable[..., Any]) -> tuple[str, int]:
    """File and first line."""
    code = written_function(call).__code__
    return short_path(code.co_filename), code.co_firstlineno
