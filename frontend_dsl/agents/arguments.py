"""The arguments of a tool: their JSON schema from signature and docstring, and their check."""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

from frontend_dsl.agents.docstrings import read_docstring
from frontend_dsl.errors import DefinitionError
from frontend_dsl.schema import given_schema, parameters_schema
from frontend_dsl.where import user_frame
from graph_opt.graph import Json


class WrongArguments(ValueError):
    """A call's arguments that the tool does not take; the message is for the model."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a tool takes."""

    about: str  # of the function, as its docstring says
    schema: Mapping[str, Json]
    check: Callable[[Mapping[str, Any]], dict[str, Any]]  # raises WrongArguments


def arguments_of(name: str, function: Callable[..., Any], *, skip_first: bool = False) -> Arguments:
    """Read a function. Raises DefinitionError for a parameter that no model can give."""
    from pydantic import ConfigDict, Field, create_model

    docs = read_docstring(inspect.getdoc(function))
    hints = get_type_hints(_written(function), include_extras=True)
    fields: dict[str, Any] = {}
    parameters = list(inspect.signature(function).parameters.values())
    names: dict[str, str] = {}
    for place, parameter in enumerate(parameters[1:] if skip_first else parameters):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            problem = f"the tool {name}() has *{parameter.name}: a model names each argument"
            raise DefinitionError(problem, *user_frame())
        type_ = hints.get(parameter.name, Any)
        default: Any = ... if parameter.default is parameter.empty else parameter.default
        about = docs.parameters.get(parameter.name)
        if about is not None and not _is_described(type_):
            type_ = Annotated[type_, Field(description=about)]
        names[f"argument_{place}"] = parameter.name  # a field cannot have any name
        fields[f"argument_{place}"] = (type_, Field(default, alias=parameter.name))
    model: Any = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    schema = parameters_schema(model)
    return Arguments(docs.about, schema, lambda given: _checked(model, names, given))


def arguments_of_schema(schema: Mapping[str, Any]) -> Arguments:
    """What a schema says, which whoever is called checks itself."""
    known = {"type": "object", "properties": {}, **schema}
    return Arguments("", given_schema(known), lambda given: _with_required(known, given))


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments that a model wrote. Raises WrongArguments."""
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise WrongArguments(f"the arguments are no JSON: {error}") from None
    if not isinstance(given, dict):
        raise WrongArguments(f"the arguments must be a JSON object, not {text[:80]}")
    return given


def _written(function: Any) -> Any:
    found = inspect.unwrap(function)
    is_function = inspect.isfunction(found) or inspect.ismethod(found)
    return found if is_function else type(found).__call__


def _is_described(type_: Any) -> bool:
    extras = get_args(type_)[1:] if get_origin(type_) is Annotated else ()
    return any(getattr(extra, "description", None) for extra in extras)


def _checked(model: Any, names: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    from pydantic import ValidationError

    try:
        found = model.model_validate(given)
    except ValidationError as error:
        raise WrongArguments(_said(error)) from None
    given_fields = found.model_fields_set
    return {name: getattr(found, key) for key, name in names.items() if key in given_fields}


def _said(error: Any) -> str:
    problems = [
        f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in error.errors()
    ]
    return "; ".join(problems)


def _with_required(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    required = cast(list[str], schema.get("required", []))
    missing = [name for name in required if name not in given]
    if missing:
        raise WrongArguments(f"missing: {', '.join(missing)}")
    known = cast(Mapping[str, Any], schema["properties"])
    unknown = [name for name in given if known and name not in known]
    if unknown and schema.get("additionalProperties") is False:
        raise WrongArguments(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return dict(given)
