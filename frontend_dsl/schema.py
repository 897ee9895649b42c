"""The JSON schema of a declared output type."""

from typing import Any, cast

from graph_opt.graph import Json


def json_schema(type_: Any) -> dict[str, Json]:
    """The schema that decoding is held to. Raises TypeError for a type without one."""
    from pydantic import TypeAdapter  # late: it would double teola's import time
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        return cast(dict[str, Json], _closed(_without_titles(TypeAdapter(type_).json_schema())))
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise TypeError(f"out={type_!r} has no JSON schema: {error}") from error


def _without_titles(schema: Any) -> Any:
    """The titles that pydantic makes from names say nothing that the names do not."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_titles(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _without_titles(value)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }


def _closed(schema: Any) -> Any:
    """No keys beside the declared ones, unless the type allows them: a model would invent some."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
