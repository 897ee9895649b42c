"""The parameters of an app: which specialise its graph, which stay symbolic, and their checks."""

import enum
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

MISSING: Any = inspect.Parameter.empty


class ArgumentError(TypeError):
    """An app was called with a missing, unknown or wrong argument."""


@dataclass(frozen=True, slots=True)
class AppParameter:
    """One parameter; a static one is known when the app is traced and specialises the graph."""

    name: str
    type: Any
    default: Any  # MISSING if it must be given
    is_static: bool


@dataclass(frozen=True, slots=True)
class BoundArguments:
    """Checked arguments. A value of None is always static."""

    static: Mapping[str, Any]
    symbolic: Mapping[str, Any]


def app_parameters(function: Callable[..., Any]) -> tuple[AppParameter, ...]:
    """The parameters of an app function. Raises TypeError for forms that an app cannot have."""
    hints = get_type_hints(function)
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"app {function.__name__}() takes *{parameter.name}; name each argument"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"parameter {parameter.name!r} of app {function.__name__}() is positional-only; "
                "apps are called by name too: remove the /"
            )
        if not parameter.name.isascii():
            raise TypeError(
                f"parameter {parameter.name!r} of app {function.__name__}() names a value of the "
                "graph; use letters A to Z, digits and _"
            )
        if parameter.name not in hints:
            raise TypeError(
                f"parameter {parameter.name!r} of app {function.__name__}() has no type"
            )
        type_ = hints[parameter.name]
        parameters.append(AppParameter(parameter.name, type_, parameter.default, _is_static(type_)))
    return tuple(parameters)


def bind(
    name: str, parameters: tuple[AppParameter, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> BoundArguments:
    """Check arguments against the types. Raises ArgumentError that names the culprit."""
    if len(args) > len(parameters):
        raise ArgumentError(f"{name}() takes {len(parameters)} arguments; got {len(args)}")
    given = dict(zip((p.name for p in parameters), args, strict=False))
    known = {p.name for p in parameters}
    for key, value in kwargs.items():
        if key not in known:
            raise ArgumentError(
                f"{name}() has no argument {key!r}; it has {', '.join(sorted(known))}"
            )
        if key in given:
            raise ArgumentError(f"{name}() got argument {key!r} twice")
        given[key] = value
    return _sort(name, parameters, given)


def _sort(
    name: str, parameters: tuple[AppParameter, ...], given: Mapping[str, Any]
) -> BoundArguments:
    static: dict[str, Any] = {}
    symbolic: dict[str, Any] = {}
    for parameter in parameters:
        value = given.get(parameter.name, parameter.default)
        if value is MISSING:
            raise ArgumentError(f"{name}() needs argument {parameter.name!r} ({parameter.type!r})")
        value = _checked(name, parameter, value)
        target = static if parameter.is_static or value is None else symbolic
        target[parameter.name] = value
    return BoundArguments(static, symbolic)


def _checked(name: str, parameter: AppParameter, value: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError  # late: it would double teola's import time

    try:
        return TypeAdapter(parameter.type).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ArgumentError(f"{name}(): argument {parameter.name!r}: {reason}") from None


def _is_static(type_: Any) -> bool:
    if get_origin(type_) in (Union, types.UnionType):
        return all(_is_static(arg) for arg in get_args(type_))
    if get_origin(type_) is Literal or type_ is type(None):
        return True
    return isinstance(type_, type) and issubclass(type_, (bool, int, float, enum.Enum))
