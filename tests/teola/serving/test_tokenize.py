"""`/tokenize` of a chat gives the ids that the chat computes: tools, calls and open turns too."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
FIND = {"type": "function", "function": {"name": "find", "description": "Finds a thing."}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
HISTORY = [
    *HELLO,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "green"},
]
OPEN = [*HELLO, {"role": "assistant", "content": "He"}]


@pytest.fixture(scope="module")
def server(talk_tiny: Callable[..., Any]) -> Iterator[Any]:
    return talk_tiny(positions=4096, kv_tokens=8192)


@pytest.mark.parametrize(
    "chat",
    [
        {"messages": HELLO},
        {"messages": HELLO, "tools": [FIND]},
        {"messages": HISTORY, "tools": [FIND]},
        {"messages": HISTORY},  # the tools of the history are told by name
        {"messages": OPEN, "continue_final_message": True},
        {"messages": HELLO, "add_generation_prompt": False},
    ],
)
def test_a_chat_has_as_many_tokens_as_its_answer_counts(server: Any, chat: dict[str, Any]) -> None:
    found = server.ask("/tokenize", chat).json()
    usage = server.ask(CHAT, {**chat, "max_tokens": 1, "temperature": 0}).json()["usage"]
    assert len(found["tokens"]) == found["count"] == usage["prompt_tokens"]


def test_tools_stand_in_the_tokens(server: Any) -> None:
    without = server.ask("/tokenize", {"messages": HELLO}).json()
    found = server.ask("/tokenize", {"messages": HELLO, "tools": [FIND]}).json()
    text = server.ask("/detokenize", {"tokens": found["tokens"]}).json()["prompt"]
    assert "Finds a thing." in text
    assert found["count"] > without["count"]


def test_an_engine_without_tools_tells_no_tokens_of_them(talk: Callable[..., Any]) -> None:
    server = talk(capabilities=["stream"])
    answer = server.post("/tokenize", {"messages": HELLO, "tools": [FIND]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools")
