"""Apps as MCP describes tools: their parameters, description and result."""

import inspect
from typing import Any

from mcp import types
from pydantic import TypeAdapter, create_model
from pydantic.errors import PydanticUserError

from frontend_dsl.app import App
from frontend_dsl.callables import result_type
from frontend_dsl.signature import MISSING

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
    """What the app says of itself, or its docstring."""
    own = getattr(app, "description", "")
    return own or inspect.cleandoc(app.__doc__ or "")


def input_schema(app: AnyApp) -> dict[str, Any]:
    """JSON schema of the arguments; those without a default are required."""
    fields: dict[str, Any] = {}
    for parameter in app.parameters:
        declared = parameter.type if parameter.declared is None else parameter.declared
        default = ... if parameter.default is MISSING else parameter.default
        fields[parameter.name] = (declared, default)
    schema = create_model(app.name, **fields).model_json_schema()
    schema.pop("title", None)
    return {**schema, "additionalProperties": False}


def output_schema(app: AnyApp) -> dict[str, Any] | None:
    """JSON schema of the structured result, or None for an app that gives text."""
    type_ = _result_type(app)
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
    if isinstance(value, str):
        return types.CallToolResult(content=[types.TextContent(text=value)])
    adapter: TypeAdapter[Any] = TypeAdapter(type(value))
    plain = adapter.dump_python(value, mode="json")
    text = types.TextContent(text=adapter.dump_json(value, indent=2).decode())
    schema = output_schema(app)
    if schema is None:
        return types.CallToolResult(content=[text])
    is_wrapped = list(schema.get("properties", ())) == [RESULT] and not isinstance(plain, dict)
    return types.CallToolResult(
        content=[text], structured_content={RESULT: plain} if is_wrapped else plain
    )


def _result_type(app: AnyApp) -> Any:
    own = getattr(app, "out", None)
    return result_type(app._function) if own is None else own
