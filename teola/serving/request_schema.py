"""The JSON schema of a body as it is read: null stands for a field's default, of an unknown field
too, and fields that other servers know are passed over."""

from collections.abc import Mapping
from typing import Any

from teola.serving.fields import IGNORED, WITHOUT_EFFECT, Unsupported


def as_read(schema: Mapping[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """`schema` of a model, with all that `parse` takes for it."""
    required = schema.get("required", ())
    own = {
        name: field if name in required else _or_null(field)
        for name, field in schema["properties"].items()
    }
    properties = {**_passed_over(unsupported), **own}
    return {**schema, "properties": properties, "additionalProperties": {"type": "null"}}


def _passed_over(unsupported: Unsupported) -> dict[str, Any]:
    found: dict[str, Any] = {name: {"description": "Read and not used."} for name in IGNORED}
    found |= {name: {"description": "Without effect; a header says so."} for name in WITHOUT_EFFECT}
    found |= {name: _only(*harmless) for name, harmless in unsupported.items()}
    return dict(sorted(found.items()))


def _only(values: tuple[Any, ...], why: str) -> dict[str, Any]:
    return {"enum": [*values, None], "description": f"Not supported: {why}."}


def _or_null(field: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in field:
        has_null = {"type": "null"} in field["anyOf"]
        return field if has_null else {**field, "anyOf": [*field["anyOf"], {"type": "null"}]}
    about = {name: value for name, value in field.items() if name in ("default", "title")}
    own = {name: value for name, value in field.items() if name not in about}
    return {"anyOf": [own, {"type": "null"}], **about} if own else field
