"""Finds in a function's source what Python gives no hook for.

An f-string that holds a symbolic value is an ordinary str: `"x" in f"{question}"` asks the marker
and not the question. The check follows names through the function, and knows only what is certain:
a name that may hold something else on another path is not looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from frontend_dsl.marked_texts import has_marks
from frontend_dsl.source_expressions import Names
from frontend_dsl.source_names import content_of, parsed
from frontend_dsl.source_rules import Kind
from frontend_dsl.source_statements import Statements
from frontend_dsl.value import Value

_MOST_PASSED = 4096
_Key = tuple[CodeType, frozenset[tuple[str, Kind]], tuple[CodeType | type, ...]]

_passed: set[_Key] = set()


def kinds_of(arguments: Mapping[str, Any]) -> Names:
    """What the arguments of a call are, as far as they are known only when the app runs."""
    kinds = {name: _kind_of(value) for name, value in arguments.items()}
    return {name: kind for name, kind in kinds.items() if kind is not Kind.UNKNOWN}


def check_call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """The same for a call with these arguments, some of which may be real."""
    plain = getattr(function, "__func__", function)
    if isinstance(plain, FunctionType):
        given = args if plain is function else (None, *args)  # the object of a method comes first
        code = plain.__code__
        named = zip(code.co_varnames[: code.co_argcount], given, strict=False)
        check_source(plain, kinds_of({**dict(named), **kwargs}))


def _kind_of(value: object) -> Kind:
    if isinstance(value, Value):
        return Kind.VALUE
    return Kind.TEXT if has_marks(value) else Kind.UNKNOWN


def check_source(
    function: Callable[..., Any], arguments: Mapping[str, Kind], *, is_final: bool = True
) -> None:
    """Raise SymbolicError where the function reads a text that holds a value of the run.

    Only a function with source is checked, once for each kind of arguments; again if the check was
    not final, since names that it uses may be given a meaning later.
    """
    if not isinstance(function, FunctionType):
        return
    key = _key(function, arguments)
    if key in _passed:
        return
    _result(function, arguments, {})
    if len(_passed) >= _MOST_PASSED:
        _passed.clear()
    if is_final:
        _passed.add(key)


def _key(function: FunctionType, arguments: Mapping[str, Kind]) -> _Key:
    """Equal for functions of which the check says the same: one text, the same functions around."""
    around = (content_of(cell) for cell in function.__closure__ or ())
    known = tuple(one.__code__ if isinstance(one, FunctionType) else type(one) for one in around)
    return function.__code__, frozenset(arguments.items()), known


def _result(
    function: FunctionType, arguments: Mapping[str, Kind], followed: dict[_Key, Kind]
) -> Kind:
    """What is certain of the function's result; `followed` holds what is known of others."""
    key = _key(function, arguments)
    if key in followed:
        return followed[key]
    followed[key] = Kind.UNKNOWN  # where it calls itself
    tree = parsed(function.__code__)
    if tree is not None:
        walk = Statements(function, tree, partial(_result, followed=followed))
        followed[key] = walk.result(tree, dict(arguments))
    return followed[key]
