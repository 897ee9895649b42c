"""The attrs `tools` and `tool_choice`."""

from typing import Any

import pytest

from backends.errors import RequestRejected
from backends.tool_calls.tools import Toolset, choose_tools, read_tools

FIND: dict[str, Any] = {
    "name": "find",
    "description": "Finds.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
}
READ: dict[str, Any] = {"name": "read"}
HOLDS_ITSELF: dict[str, Any] = {"properties": {}}
HOLDS_ITSELF["properties"]["self"] = HOLDS_ITSELF


def chosen(before: Toolset | None = None, is_start: bool = False, **attrs: Any) -> Toolset:
    found = choose_tools(attrs, before, is_start=is_start)
    assert found is not None
    return found


def test_tools_left_out_are_those_of_the_context_and_so_is_the_choice() -> None:
    opened = chosen(is_start=True, tools=[FIND, READ], tool_choice="required")
    assert chosen(opened) == opened
    assert chosen(opened, tool_choice="none").callable == ()
    assert chosen(opened, tools=[FIND, READ]).choice == "auto"
    assert choose_tools({}, None, is_start=True) is None


def test_a_named_tool_is_the_only_one_that_may_be_called() -> None:
    named = chosen(is_start=True, tools=[FIND, READ], tool_choice="read")
    assert [tool.name for tool in named.callable] == ["read"]
    assert named.is_call_required


def test_a_context_keeps_the_tools_that_its_prompt_names() -> None:
    opened = chosen(is_start=True, tools=[FIND])
    with pytest.raises(RequestRejected, match="made with other tools"):
        chosen(opened, tools=[READ])
    with pytest.raises(RequestRejected, match="made with no tools.*give `tools` to the prefill"):
        chosen(None, tools=[READ])


@pytest.mark.parametrize(
    ("tools", "what"),
    [
        ("find", "must be a list"),
        ([{"name": ""}], "has no name"),
        ([{"name": "a", "parameters": 3}], "parameters of 'a' must be a JSON schema"),
        ([{"name": "a", "code": 3}], "must have description, name, parameters and no more"),
        ([{"name": "a", "parameters": {"type": "string"}}], "of 'a' are a JSON schema of 'string'"),
        ([{"name": "a", "description": {1}}], "'a' is not JSON"),
        ([{"name": "a", "parameters": HOLDS_ITSELF}], "'a' is nested deeper than 200 levels"),
        ([READ, READ], "two with the name 'read'"),
    ],
)
def test_wrong_tools_are_refused_with_what_is_wrong(tools: Any, what: str) -> None:
    with pytest.raises(RequestRejected, match=what):
        read_tools(tools)


def test_a_choice_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(RequestRejected, match="not 'send'; there are find, read"):
        choose_tools({"tools": [FIND, READ], "tool_choice": "send"}, None, is_start=True)
    with pytest.raises(RequestRejected, match="there are no tools"):
        choose_tools({"tool_choice": "required"}, None, is_start=True)
