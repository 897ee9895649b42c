"""Apps as MCP describes tools: their parameters, description and result."""

import inspect
from typing import Annotated, Any

from mcp import types
from pydantic import Field, TypeAdapter, create_model
from pydantic.errors import PydanticUserError

from frontend_dsl.agents.docstrings import read_docstring
from frontend_dsl.app import App
from frontend_dsl.signature import MISSING
from frontend_dsl.teams.members import type_of_answer

AnyApp = App[..., Any]
RESULT = "result"  # around what is no object


def tool_of(app: AnyApp) -> types.Tool:
    """What a client sees of an app."""
    return types.Tool(
        name=app.name,
        description=description_of(app),
        input_schema=input_schema(app),
        output_schema=output_schema(app),
    )


def description_of(app: AnyApp) -> str:
    """What the app says of itself, or its docstring without what that says of arguments."""
    own = getattr(app, "description", "")
    return own or read_docstring(inspect.getdoc(app.function)).about


def input_schema(app: AnyApp) -> dict[str, Any]:
    """JSON schema of the arguments; those without a default are required."""
    fields: dict[str, Any] = {}
    said = read_docstring(inspect.getdoc(app.function)).parameters
    for parameter in app.parameters:
        declared = parameter.type if parameter.declared is None else parameter.declared
        if parameter.name in said:
            declared = Annotated[declared, Field(description=said[parameter.name])]
        default = ... if parameter.default is MISSING else parameter.default
        fields[parameter.name] = (declared, default)
    schema = create_model(app.name, **fields).model_json_schema()
    schema.pop("title", None)
    return {**schema, "additionalProperties": False}


def output_schema(app: AnyApp) -> dict[str, Any] | None:
    """JSON schema of the structured result, or None for an app that gives text."""
    type_ = type_of_answer(app)
    if type_ in (str, Any, None, type(None)):
        return None
    try:
        schema = TypeAdapter(type_).json_schema(mode="serialization")
    except PydanticUserError:  # a class that pydantic does not know
        return None
    if schema.get("type") == "object":
        return schema
    definitions = schema.pop("$defs", None)
    wrapped: dict[str, Any] = {
        "type": "object",
        "properties": {RESULT: schema},
        "required": [RESULT],
    }
    return wrapped if definitions is None else {**wrapped, "$defs": definitions}


def result_of(app: AnyApp, value: Any) -> types.CallToolResult:
    """A result as text, and as what `output_schema` describes."""
    schema = output_schema(app)
    adapter: TypeAdapter[Any] = TypeAdapter(type(value))
    shown = value if isinstance(value, str) else adapter.dump_json(value, indent=2).decode()
    text = types.TextContent(text=shown)
    if schema is None:
        return types.CallToolResult(content=[text])
    plain = adapter.dump_python(value, mode="json")
    is_wrapped = list(schema.get("properties", ())) == [RESULT] and not isinstance(plain, dict)
    structured = {RESULT: plain} if is_wrapped else plain
    return types.CallToolResult(content=[text], structured_content=structured)
