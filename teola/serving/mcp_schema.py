"""Apps as MCP describes tools: their parameters, description and result."""

from typing import Any

from mcp import types
from pydantic import TypeAdapter

from teola.app_serving.app_schema import AnyApp, description_of, input_schema, result_schema

RESULT = "result"  # around what is no object


def tool_of(app: AnyApp) -> types.Tool:
    """What a client sees of an app."""
    return types.Tool(
        name=app.name,
        description=description_of(app),
        input_schema=input_schema(app),
        output_schema=output_schema(app),
    )


def output_schema(app: AnyApp) -> dict[str, Any] | None:
    """JSON schema of the structured result, or None for an app that gives text."""
    schema = result_schema(app)
    if schema is None or schema == {"type": "string"}:
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
