"""Contexts in text mode keep their tools."""

import pytest

from backends.base import Request, Turn
from backends.errors import RequestRejected
from backends.remote.text_context import TextContext, toolset_of

TOOL = {"name": "weather"}


def test_a_context_keeps_its_tools_and_takes_no_others() -> None:
    opened = Request("0" * 32, "prefill", (None, Turn("user"), "x"), {"tools": [TOOL]})
    tools = toolset_of(opened, None)
    context = TextContext(object(), (Turn("user"), "x"), 2, tools=tools)
    later = Request("1" * 32, "decode", (context,), {"tool_choice": "weather"})
    found = toolset_of(later, context)
    assert found is not None
    assert [tool.name for tool in found.callable] == ["weather"]
    other = Request("2" * 32, "decode", (context,), {"tools": [{"name": "other"}]})
    with pytest.raises(RequestRejected, match="made with other tools"):
        toolset_of(other, context)
