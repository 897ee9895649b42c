"""What a tool's result is as a Python value."""

from collections.abc import Iterable, Mapping
from typing import Any

from mcp import types


def value_of(result: types.CallToolResult, output_schema: Mapping[str, Any] | None) -> Any:
    """The structured content where there is one, else the text of all blocks."""
    if result.structured_content is None:
        return text_of(result.content)
    if output_schema is not None and is_wrapped(output_schema):
        return result.structured_content.get("result")
    return result.structured_content


def is_wrapped(output_schema: Mapping[str, Any]) -> bool:
    """Whether an object stands around a value that is none: SDKs call it `result`."""
    return list(output_schema.get("properties", ())) == ["result"]


def text_of(content: Iterable[types.ContentBlock]) -> str:
    """The blocks one a line; of what is not text only what it is."""
    return "\n".join(_text(block) for block in content)


def _text(block: types.ContentBlock) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ResourceLink():
            return f"[{block.name}: {block.uri}]"
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return resource.text
        case types.EmbeddedResource():
            return f"[{block.resource.uri}]"
    return f"[{block.type} {block.mime_type}]"
