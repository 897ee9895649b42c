"""Clients of other makers run a turn with tools, whole and streamed.

langchain-openai is in the extra `test`. litellm and llama-index are in `clients`: they want an
older openai than ours, and run in an environment of their own.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clients_environment import ClientsEnvironment, clients_environment

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
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        base_url=url, api_key="x", model="talker", use_responses_api=True, max_retries=0
    )
    said = model.bind_tools([FIND]).invoke("tea")
    assert [call["args"] for call in said.tool_calls] == [TEA, TEA]
    assert model.invoke("count").text == "one two"
    streamed = [chunk.text for chunk in model.stream("count")]
    assert "".join(streamed) == "one two"


def test_langchain_embeds_texts(url: str) -> None:
    from langchain_openai import OpenAIEmbeddings

    settings: dict[str, Any] = {"base_url": url, "api_key": "x", "model": "vectors"}
    model = OpenAIEmbeddings(**settings, check_embedding_ctx_length=False)
    one, other = model.embed_documents(["a cat", "a dog"])
    assert len(one) == 64
    assert model.embed_query("a dog") == other != one


@pytest.fixture(scope="module")
def clients(pytestconfig: pytest.Config) -> ClientsEnvironment:
    """The environment of clients that want an older openai than ours; it is made at its first use,
    which is shown."""
    environment = clients_environment()
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        environment.make()
    return environment


def test_litellm_chats_calls_tools_and_embeds(url: str, clients: ClientsEnvironment) -> None:
    found = clients.run("drive_litellm", url, json.dumps(FIND))
    calls = [["find", json.dumps(TEA)]] * 2
    assert found["chat"] == "one two"
    assert found["stream"] == {"text": "one two", "num_tokens": 2}
    turn = {"text": "I look.", "calls": calls}
    assert found["tool_turn"] == {**turn, "reason": "tool_calls", "last": "It is green."}
    assert found["streamed_calls"] == turn
    for ((name, arguments),) in found["forced"]:
        assert name == "find"
        assert json.loads(arguments).keys() == {"q"}
    assert found["refused"] == 400
    assert found["embeddings"] == [64, 64]


def test_llama_index_chats_calls_tools_and_embeds(url: str, clients: ClientsEnvironment) -> None:
    found = clients.run("drive_llama_index", url)
    assert found["chat"] == found["complete"] == found["stream"] == "one two"
    assert found["tool_turn"] == {"calls": [["find", TEA]] * 2, "last": "It is green."}
    assert found["streamed_calls"] == [["find", TEA]] * 2
    ((name, arguments),) = found["forced"]
    assert (name, arguments.keys()) == ("find", {"q"})
    assert found["embeddings"] == [64, 64]
