"""A refusal names the place in the client's own body, whatever forms a field may have."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from teola.serving.api_errors import ApiError
from teola.serving.fields import parse
from teola.serving.routes import OPERATIONS

CHAT, COMPLETE, RESPOND = "/v1/chat/completions", "/v1/completions", "/v1/responses"
BODIES = {operation.path: operation.fields for operation in OPERATIONS}
HELLO = [{"role": "user", "content": "hello"}]
FIND = {"type": "function", "function": {"name": "find"}}


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": HELLO, **fields}


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        (COMPLETE, {"prompt": ["a", 5]}, "prompt.1"),
        (COMPLETE, {"prompt": [1, 2, -1]}, "prompt.2"),
        (COMPLETE, {"prompt": [[1], [2, "x"]]}, "prompt.1.1"),
        (COMPLETE, {"prompt": {"text": "a"}}, "prompt"),
        (COMPLETE, {"prompt": [{"type": "text", "text": "a"}, {"type": "text"}]}, "prompt.1.text"),
        (COMPLETE, {"prompt": [{"type": "image", "text": "a"}]}, "prompt.0"),
        (COMPLETE, {"prompt": [{"type": "tokens", "tokens": [1, "x"]}]}, "prompt.0.tokens.1"),
        (COMPLETE, {"prompt": "a", "stop": ""}, "stop"),
        (COMPLETE, {"prompt": "a", "stop": ["b", ""]}, "stop.1"),
        (COMPLETE, {"prompt": "a", "structured_outputs": {"jsn": {}}}, "structured_outputs.jsn"),
        (COMPLETE, {"prompt": "a", "echo": True, "stream": True}, "echo"),
        (CHAT, chat(tools=[FIND], tool_choice="some"), "tool_choice"),
        (CHAT, chat(tools=[FIND], tool_choice={"type": "function"}), "tool_choice.function"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages.0.content.0.text"),
        (RESPOND, {"input": [{"role": "user", "content": [{"type": "image"}]}]},
         "input.0.content.0.type"),
        (RESPOND, {"input": [{"type": "function_call", "name": "f"}]}, "input.0.call_id"),
        (RESPOND, {"input": [{"type": "nothing"}]}, "input.0"),
        ("/v1/embeddings", {"input": ["a", 5]}, "input.1"),
        ("/v1/embeddings", {"input": [3, -1]}, "input.1"),
        ("/rerank", {"query": "a", "documents": ["b", {"txt": "c"}]}, "documents.1.text"),
        ("/v1/select", {"prompt": [1, "a"], "choices": ["b"]}, "prompt.1"),
        ("/v1/select", {"prompt": [{"type": "chunk"}], "choices": ["b"]}, "prompt.0.text"),
        ("/tokenize", {"prompt": "a", "messages": HELLO}, "prompt"),
        ("/tokenize", {"prompt": "a", "tools": [FIND]}, "tools"),
        ("/v1/encode", {}, "prompt"),
        ("/detokenize", {"tokens": [1, "a"]}, "tokens.1"),
    ],
)  # fmt: skip
def test_a_place_has_no_part_that_the_client_did_not_write(
    path: str, body: Any, place: str
) -> None:
    fields = BODIES[path]
    assert isinstance(fields, type)
    with pytest.raises(ApiError) as raised:
        parse(fields, json.dumps(body).encode())
    assert (raised.value.status, raised.value.param) == (400, place)


def test_a_deep_body_is_soon_refused() -> None:
    fields = BODIES[COMPLETE]
    assert isinstance(fields, type)
    with pytest.raises(ApiError) as raised:
        parse(fields, b'{"prompt": ' + b"[" * 150 + b"]" * 150 + b"}")
    assert str(raised.value.param).startswith("prompt")


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"guided_json": {"type": "nothing"}}, "guided_json"),
        ({"structured_outputs": {"json": {"type": "nothing"}}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs"),
        ({"guided_regex": "("}, "guided_regex"),
        ({"regex": "("}, "regex"),
    ],
)
def test_a_form_that_cannot_be_followed_is_named_as_the_client_names_it(
    tiny_server: Any, talk: Callable[..., Any], form: dict[str, Any], field: str
) -> None:
    for streams in (False, True):
        for path, body in ((CHAT, chat()), (COMPLETE, {"prompt": "a"})):
            answer = tiny_server.ask(path, {**body, **form, "stream": streams})
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == field


def test_the_form_of_a_response_is_named_as_the_client_names_it(tiny_server: Any) -> None:
    form = {"format": {"type": "json_schema", "schema": {"type": "nothing"}}}
    answer = tiny_server.ask(RESPOND, {"input": "a", "text": form})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "text.format")


def test_an_engine_without_forms_names_the_clients_field(talk: Callable[..., Any]) -> None:
    server = talk(capabilities=["stream"])
    answer = server.post(CHAT, chat(guided_json={}))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "guided_json")


def test_an_unknown_token_is_the_prompts_fault(tiny_server: Any) -> None:
    answer = tiny_server.ask(COMPLETE, {"prompt": [10**6], "max_tokens": 1})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "prompt")
    assert "has a token 1000000; ids of this model go from 0 to" in error["message"]
