"""Apps as JSON schema: their description, parameters and result."""

import inspect
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema

from frontend_dsl.agents.docstrings import read_docstring
from frontend_dsl.app import App
from frontend_dsl.signature import MISSING
from frontend_dsl.teams.members import type_of_answer

AnyApp = App[..., Any]


def description_of(app: AnyApp) -> str:
    """What the app says of itself, or its docstring without what that says of arguments."""
    own = getattr(app, "description", "")
    return own or read_docstring(inspect.getdoc(app.function)).about


def input_schema(app: AnyApp, ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
    """JSON schema of the arguments; those without a default are required."""
    fields: dict[str, Any] = {}
    said = read_docstring(inspect.getdoc(app.function)).parameters
    for parameter in app.parameters:
        declared = parameter.type if parameter.declared is None else parameter.declared
        if parameter.name in said:
            declared = Annotated[declared, Field(description=said[parameter.name])]
        default = ... if parameter.default is MISSING else parameter.default
        fields[parameter.name] = (declared, default)
    schema = create_model(app.name, **fields).model_json_schema(ref_template=ref_template)
    schema.pop("title", None)
    return {**schema, "additionalProperties": False}


def result_schema(
    app: AnyApp,
    ref_template: str = DEFAULT_REF_TEMPLATE,
    generator: type[GenerateJsonSchema] = GenerateJsonSchema,
) -> dict[str, Any] | None:
    """JSON schema of what the app returns; None where its type says nothing about it."""
    type_ = type_of_answer(app)
    if type_ in (Any, None, type(None)):
        return None
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(type_)
        return adapter.json_schema(
            mode="serialization", ref_template=ref_template, schema_generator=generator
        )
    except PydanticUserError:  # a class that pydantic does not know
        return None
