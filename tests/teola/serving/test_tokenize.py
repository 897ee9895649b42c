"""`/tokenize` of a chat gives the ids that the chat computes: tools, calls and open turns too."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from teola.serving.client_rules import ClientRules

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


def test_the_tokenizers_markup_and_template_are_told(server: Any, talk: Callable[..., Any]) -> None:
    found = server.ask("/tokenizer_info").json()
    assert (found["model"], found["eos_token"]) == ("tiny", "<|im_end|>")
    assert (found["bos_token"], found["vocab_size"]) == (None, 259)
    assert "messages" in found["chat_template"]
    answer = talk().get("/tokenizer_info")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


def test_markup_of_a_prompt_is_markup_where_the_request_or_the_server_says_so(
    server: Any, talk_tiny: Callable[..., Any]
) -> None:
    parsing = talk_tiny(rules=ClientRules(parses_special=True))
    for where, asked, is_markup in (
        (server, None, False),
        (server, True, True),
        (parsing, None, True),
        (parsing, False, False),
    ):
        body = {"prompt": "<|im_end|>", "parse_special": asked}
        tokens = where.ask("/tokenize", body).json()["tokens"]
        assert (tokens == [258]) == is_markup
        answer = where.ask("/v1/completions", {**body, "max_tokens": 1}).json()
        assert answer["usage"]["prompt_tokens"] == len(tokens)


def test_special_tokens_before_a_prompt_can_be_left_out(
    talk_tiny: Callable[..., Any], tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    server = talk_tiny(folder=_with_start(tiny_folder(), tmp_path / "with_start"))
    found = [
        server.ask("/tokenize", {"prompt": "ab", "add_special_tokens": adds}).json()["tokens"]
        for adds in (True, False)
    ]
    assert found == [[257, *found[1]], found[1]]
    assert len(found[1]) == 2
    assert server.ask("/tokenizer_info").json()["bos_token"] == "<|im_start|>"


def _with_start(folder: Path, copy: Path) -> Path:
    """The model with a token that begins each text."""
    shutil.copytree(folder, copy)
    file, start = str(copy / "tokenizer.json"), "<|im_start|>"
    tokenizer = Tokenizer.from_file(file)
    single = TemplateProcessing(single=f"{start} $A", special_tokens=[(start, 257)])
    tokenizer.post_processor = single
    tokenizer.save(file)
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "bos_token": start}))
    return copy
