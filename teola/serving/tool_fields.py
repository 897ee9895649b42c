"""The fields `tools`, `tool_choice` and `parallel_tool_calls`, and the attributes they become."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from backends.request_limits import MAX_TOOLS
from teola.serving.chat_message import Message
from teola.serving.fields import Fields


def has_tools(value: Any, info: ValidationInfo) -> Any:
    """Validates `tool_choice` beside `tools`."""
    if value not in (None, "none", "auto") and not info.data.get("tools"):
        raise ValueError("there are no tools to choose from: give tools")
    return value


class FunctionFields(Fields):
    """What the model may call. Its arguments are held to the schema, strict or not."""

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None  # a JSON schema; left out: no arguments
    strict: bool | None = None

    @property
    def tool(self) -> dict[str, Any]:
        """As engines take it."""
        return {
            "name": self.name,
            "description": self.description or "",
            "parameters": self.parameters,
        }


class ToolFields(Fields):
    """A tool; there are functions only."""

    type: Literal["function"]
    function: FunctionFields


class FunctionName(Fields):
    """A function's name."""

    name: str


class NamedChoice(Fields):
    """The function that must be called."""

    type: Literal["function"]
    function: FunctionName


class HasTools(Fields):
    """A body that may offer tools."""

    tools: list[ToolFields] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool = True

    _has_tools = field_validator("tool_choice")(has_tools)

    def tool_attrs(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Attributes of prefill and decode."""
        functions = [tool.function for tool in self.tools or ()]
        choice = self.tool_choice
        named = choice.function.name if isinstance(choice, NamedChoice) else choice
        return tool_attrs(functions, named, self.parallel_tool_calls, messages)


def tool_attrs(
    tools: Sequence[FunctionFields],
    choice: str | None,
    is_parallel: bool,
    messages: Sequence[Message],
) -> dict[str, Any]:
    """Attributes of prefill and decode; none where no tool is offered and none was called."""
    if not tools:
        return _tools_of_history(messages)
    found = {
        "tools": [tool.tool for tool in tools],
        "tool_choice": choice,
        "parallel_tool_calls": None if is_parallel else False,
    }
    return {name: value for name, value in found.items() if value is not None}


def _tools_of_history(messages: Sequence[Message]) -> dict[str, Any]:
    """What was called before is told by name, so that calls and answers can be written, and cannot
    be called again."""
    names = dict.fromkeys(call.name for message in messages for call in message.calls)
    if not names:
        return {}
    return {"tools": [{"name": name} for name in names], "tool_choice": "none"}
