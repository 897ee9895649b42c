"""The parameters of an app: which specialise its graph, which stay symbolic, and their checks."""

import copy
import enum
import inspect
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from frontend_dsl.callables import name_of, place_of_function, written_function
from frontend_dsl.declared_types import type_name
from frontend_dsl.errors import DefinitionError, SymbolicError
from frontend_dsl.late_calls import known
from frontend_dsl.marked_texts import is_symbolic
from frontend_dsl.type_hints import hints_of
from frontend_dsl.value import Handle, current_tracer
from frontend_dsl.where import user_frame

MISSING: Any = inspect.Parameter.empty


class ArgumentError(TypeError):
    """An app was called with a missing, unknown or wrong argument."""


@dataclass(frozen=True)
class AppParameter:
    """One parameter; a static one is known when the app is traced and specialises the graph."""

    name: str
    type: Any  # without Annotated
    default: Any  # MISSING if it must be given
    is_static: bool
    declared: Any = None  # the type with its Annotated metadata, which arguments must meet
    is_keyword_only: bool = False
    alias: str | None = None  # of its pydantic Field: another name that callers may use

    @cached_property
    def check(self) -> Callable[[Any], Any]:
        """Gives the argument as the type has it. Raises pydantic's ValidationError."""
        adapter = _adapter(self.type if self.declared is None else self.declared)
        return cast(Callable[[Any], Any], adapter.validate_python)


@dataclass(frozen=True, slots=True)
class BoundArguments:
    """Checked arguments. A value of None is always static."""

    static: Mapping[str, Any]
    symbolic: Mapping[str, Any]

    def lifted(self) -> "BoundArguments":
        """What handles stand for is symbolic; only what they are handles of specialises a graph."""
        handles = {name: v for name, v in self.static.items() if isinstance(v, Handle)}
        shapes = {name: HandleShape(handle) for name, handle in handles.items()}
        behind = {name: handle.behind for name, handle in handles.items()}
        return BoundArguments({**self.static, **shapes}, {**self.symbolic, **behind})


@dataclass(frozen=True, slots=True)
class HandleShape:
    """What a handle is of, whatever it stands for."""

    handle: Handle

    def __repr__(self) -> str:
        return self.handle.key


def app_parameters(
    function: Callable[..., Any], *, skip_first: bool = False
) -> tuple[AppParameter, ...]:
    """The parameters of an app, without `self`. Raises DefinitionError for what it cannot have."""
    hints, declared = _hints(function, extras=False), _hints(function, extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    made = []
    for parameter in parameters[1:] if skip_first else parameters:
        problem = _problem(parameter, hints)
        if problem is not None:
            what = f"parameter {parameter.name!r} of app {name_of(function)}() {problem}"
            raise DefinitionError(what, *place_of_function(function))
        made.append(_parameter(parameter, hints[parameter.name], declared[parameter.name]))
    return tuple(made)


def bind(
    name: str,
    parameters: tuple[AppParameter, ...],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    is_inlined: bool = False,
) -> BoundArguments:
    """Check arguments against the types. Raises ArgumentError that names the culprit.

    With `is_inlined` they may be values of the run, which nobody can check now.
    """
    given = _by_name(name, parameters, args, kwargs)
    is_traced = is_inlined or current_tracer.get() is not None
    static: dict[str, Any] = {}
    symbolic: dict[str, Any] = {}
    for parameter in parameters:
        value = known(given.get(parameter.name, parameter.default))
        if value is MISSING:
            wanted = type_name(parameter.type)
            raise ArgumentError(f"{name}() needs argument {parameter.name!r} ({wanted})")
        is_of_a_run = is_traced and is_symbolic(value)
        if is_of_a_run and not is_inlined:
            raise _of_another_run(name, parameter.name)
        value = value if is_of_a_run else _checked(name, parameter, value)
        target = static if parameter.is_static or value is None else symbolic
        target[parameter.name] = value
    return BoundArguments(static, symbolic)


def _of_another_run(name: str, argument: str) -> SymbolicError:
    problem = (
        f"{name}(): argument {argument!r} holds a value of the app around, which .arun, .stream "
        f"and .batch cannot take, since they start a run of their own: call {name}(...) itself"
    )
    return SymbolicError(problem, *user_frame())


def _by_name(
    name: str,
    parameters: Sequence[AppParameter],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    by_place = [p.name for p in parameters if not p.is_keyword_only]
    if len(args) > len(by_place):
        plural = "" if len(by_place) == 1 else "s"
        kind = "" if len(by_place) == len(parameters) else "positional "
        raise ArgumentError(
            f"{name}() takes {len(by_place)} {kind}argument{plural}; got {len(args)}"
        )
    given = dict(zip(by_place, args, strict=False))
    names = {p.name: p.name for p in parameters}
    names |= {p.alias: p.name for p in parameters if p.alias is not None}
    for key, value in kwargs.items():
        if key not in names:
            has = ", ".join(sorted(names)) or "none"
            raise ArgumentError(f"{name}() has no argument {key!r}; it has {has}")
        if names[key] in given:
            raise ArgumentError(f"{name}() got argument {names[key]!r} twice")
        given[names[key]] = value
    return given


def _checked(name: str, parameter: AppParameter, value: Any) -> Any:
    from pydantic import ValidationError  # late: it would double teola's import time

    try:
        return parameter.check(value)
    except ValidationError as error:
        failure = error
    try:
        return parameter.check(_as_texts(value))  # a path where a text is wanted
    except ValidationError:
        first = failure.errors()[0]
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first["loc"])
    raise ArgumentError(f"{name}(): argument {parameter.name!r}{where}: {first['msg']}")


def _as_texts(value: Any) -> Any:
    """The value with paths as texts."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value) in (list, tuple, set):
        return type(value)(map(_as_texts, value))
    return value


def _problem(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> str | None:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        return f"is {stars}{parameter.name}; name each argument"
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return "is positional-only; apps are called by name too: remove the /"
    if not parameter.name.isascii():
        return "names a value of the graph; use letters A to Z, digits and _"
    if parameter.name in hints:
        return None
    return f"has no type; write what it is, as in `{parameter.name}: str`"


def _parameter(parameter: inspect.Parameter, type_: Any, declared: Any) -> AppParameter:
    default = parameter.default
    if type(default).__module__ == "pydantic.fields":  # n: int = Field(3, ge=1)
        declared, default = Annotated[declared, default], _field_default(default)
    alias, declared = _without_alias(declared)
    is_keyword_only = parameter.kind is parameter.KEYWORD_ONLY
    static = _is_static(type_)
    return AppParameter(parameter.name, type_, default, static, declared, is_keyword_only, alias)


def _field_default(field: Any) -> Any:
    return MISSING if field.is_required() else field.get_default(call_default_factory=True)


def _without_alias(declared: Any) -> tuple[str | None, Any]:
    """The alias of an annotated parameter, and its type without it: only models have aliases."""
    if get_origin(declared) is not Annotated:
        return None, declared
    type_, *extras = get_args(declared)
    found = None
    for place, extra in enumerate(extras):
        if type(extra).__module__ == "pydantic.fields" and extra.alias is not None:
            found, extras[place] = extra.alias, copy.copy(extra)
            extras[place].alias = extras[place].validation_alias = None
            extras[place].serialization_alias = None
    return found, Annotated[type_, *extras]


def _hints(function: Callable[..., Any], *, extras: bool) -> dict[str, Any]:
    try:
        return hints_of(written_function(function), extras=extras)
    except NameError as error:
        problem = (
            f"app {name_of(function)}() has a type that is not known here: {error}; define or "
            "import it above the app, not under `if TYPE_CHECKING:`"
        )
        raise DefinitionError(problem, *place_of_function(function)) from error


def _is_static(type_: Any) -> bool:
    if get_origin(type_) in (Union, types.UnionType):
        return all(_is_static(arg) for arg in get_args(type_))
    if get_origin(type_) is Literal or type_ is type(None):
        return True
    return isinstance(type_, type) and issubclass(type_, (bool, int, float, enum.Enum, Handle))


def _adapter(type_: Any) -> Any:
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter

    try:
        return TypeAdapter(type_)
    except PydanticSchemaGenerationError:  # a class that pydantic does not know: isinstance
        return TypeAdapter(type_, config=ConfigDict(arbitrary_types_allowed=True))
