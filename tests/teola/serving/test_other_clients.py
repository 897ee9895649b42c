"""Clients of other makers run a turn with tools, whole and streamed.

langchain-openai is in the extra `test`. llama-index is in `clients`: it wants an older openai than
ours, so it runs where that extra is installed.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # of theirs

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
FIND = {"type": "function", "function": {"name": "find", "description": "d", "parameters": SCHEMA}}
CALL = '<tool_call>{"name": "find", "arguments": {"q": "tea"}}</tool_call>'
REPLIES = {r"<\|tool\|>green": "It is green.", "tea": f"I look. {CALL} {CALL}", "count": "one two"}
TEA = {"q": "tea"}


@pytest.fixture
def url(talk: Callable[..., Any]) -> Iterator[str]:
    with talk(replies=REPLIES).listening() as root:
        yield f"{root}/v1"


def test_langchain_runs_a_turn_with_tools(url: str) -> None:
    pytest.importorskip("langchain_openai")
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(base_url=url, api_key="x", model="talker", max_retries=0)
    with_tools = model.bind_tools([FIND])
    asked: list[Any] = [HumanMessage("tea")]
    said = with_tools.invoke(asked)
    assert said.content == "I look."
    assert [(call["name"], call["args"]) for call in said.tool_calls] == [("find", TEA)] * 2
    answers = [ToolMessage("green", tool_call_id=call["id"]) for call in said.tool_calls]
    assert with_tools.invoke([*asked, said, *answers]).content == "It is green."
    whole: Any = None
    for chunk in with_tools.stream(asked):
        whole = chunk if whole is None else whole + chunk
    assert [call["args"] for call in whole.tool_calls] == [TEA, TEA]
    forced = model.bind_tools([FIND], tool_choice="required", parallel_tool_calls=False)
    assert forced.invoke("x").tool_calls[0]["name"] == "find"
    shaped = model.with_structured_output({**SCHEMA, "title": "find"}, method="json_schema")
    assert isinstance(shaped.invoke("x")["q"], str)


def test_langchain_speaks_responses(url: str) -> None:
    pytest.importorskip("langchain_openai")
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        base_url=url, api_key="x", model="talker", use_responses_api=True, max_retries=0
    )
    said = model.bind_tools([FIND]).invoke("tea")
    assert [call["args"] for call in said.tool_calls] == [TEA, TEA]
    assert model.invoke("count").text == "one two"
    streamed = [chunk.text for chunk in model.stream("count")]
    assert "".join(streamed) == "one two"


def test_llama_index_runs_a_turn_with_tools(url: str) -> None:
    pytest.importorskip("llama_index.llms.openai_like")
    from llama_index.core.llms import ChatMessage, MessageRole
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai_like import OpenAILike

    def find(q: str) -> str:
        """Find a thing."""
        return f"green {q}"

    model = OpenAILike(
        model="talker",
        api_base=url,
        api_key="x",
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )
    tool = FunctionTool.from_defaults(find)
    asked = [ChatMessage(role=MessageRole.USER, content="tea")]
    said = model.chat_with_tools([tool], chat_history=asked, allow_parallel_tool_calls=True)
    calls = model.get_tool_calls_from_response(said)
    assert [(call.tool_name, call.tool_kwargs) for call in calls] == [("find", TEA)] * 2
    answers = [
        ChatMessage(role=MessageRole.TOOL, content="green", additional_kwargs=about)
        for about in ({"tool_call_id": call.tool_id} for call in calls)
    ]
    last = model.chat_with_tools([tool], chat_history=[*asked, said.message, *answers])
    assert last.message.content == "It is green."
    streamed = list(model.stream_chat_with_tools([tool], chat_history=asked))
    assert len(model.get_tool_calls_from_response(streamed[-1])) == 2
