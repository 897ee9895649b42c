"""What is sent and what the tests answer, held to the types of the official client."""

from typing import Any, get_type_hints

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat import completion_create_params as chat_params
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses import Response, response_create_params
from pydantic import TypeAdapter
from scripted_server import USER, Events, talk
from test_openai_chat import TOOL, chunks
from test_openai_chat import completion as chat_answer
from test_openai_completions import completion as text_answer
from test_openai_responses import message, response
from test_openai_responses import text as output_text

from backends.base import Turn

ALL: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "max_tokens": 30,
    "seed": 5,
    "stop": ["\n"],
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {11: -100},
    "logprobs": 2,
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
SPOKEN = (Turn("system"), "Be brief.", *USER, "Hello.", Turn("user"), "And?", Turn("assistant"))


def check(body: dict[str, Any], params: Any) -> None:
    unknown = body.keys() - get_type_hints(params).keys()
    assert not unknown
    TypeAdapter(params).validate_python(body)


@pytest.mark.parametrize(
    "attrs",
    [
        ALL,
        {"tools": [TOOL], "tool_choice": "weather"},
        {"schema": SCHEMA},
        {"schema": {"type": "object"}},
        {"choices": ["yes", "no"]},
    ],
)
def test_chat_bodies_have_the_clients_types(attrs: dict[str, Any]) -> None:
    good = {"choices": '{"answer": "yes"}', "schema": '{"a": 1}'}
    content = next((text for name, text in good.items() if name in attrs), "Hi")
    answer = chat_answer(content)
    found = talk({"/v1/chat/completions": answer}, SPOKEN, **attrs)
    assert not isinstance(found.outcome, Exception), found.outcome
    check(found.body, chat_params.CompletionCreateParamsNonStreaming)


def test_a_streamed_chat_has_the_clients_types() -> None:
    answer = chunks({"content": "Hi"})
    found = talk({"/v1/chat/completions": answer}, SPOKEN, streams=True)
    check(found.body, chat_params.CompletionCreateParamsStreaming)


def test_bodies_of_plain_completions_have_the_clients_types() -> None:
    options = {"api": "completions"}
    found = talk({"/v1/completions": text_answer()}, ("Once",), options=options, **ALL)
    check(found.body, CompletionCreateParamsNonStreaming)


@pytest.mark.parametrize(
    "attrs",
    [
        {"temperature": 0.7, "top_p": 0.9, "max_tokens": 30, "logprobs": 2},
        {"tools": [TOOL], "tool_choice": "weather"},
        {"schema": SCHEMA},
    ],
)
def test_bodies_of_responses_have_the_clients_types(attrs: dict[str, Any]) -> None:
    answer = response(message(output_text('{"a": 1}')))
    found = talk({"/v1/responses": answer}, SPOKEN, options={"api": "responses"}, **attrs)
    assert not isinstance(found.outcome, Exception), found.outcome
    check(found.body, response_create_params.ResponseCreateParamsNonStreaming)


def test_what_the_tests_answer_is_what_the_client_reads() -> None:
    said = ChatCompletion.model_validate(chat_answer())
    assert said.choices[0].message.content == "D. Richard Hipp."
    assert Completion.model_validate(text_answer()).choices[0].text == " D. Richard Hipp."
    whole = Response.model_validate(response(message(output_text())))
    assert whole.output_text == "D. Richard Hipp."
    stream: Events = chunks({"content": "D. "}, {"content": "Hipp"})
    read = [ChatCompletionChunk.model_validate(event) for event in stream.events]
    pieces = [one.choices[0].delta.content or "" for one in read if one.choices]
    assert "".join(pieces) == "D. Hipp"
