"""What is refused, with which status, and which field it names."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.errors import (
    ConfigError,
    EngineError,
    EngineLeftAlone,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from teola.serving.api_errors import from_engine

LENGTH = "context_length_exceeded"
CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "find"}}


@pytest.mark.parametrize(
    ("wrong", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"temperature": "warm"}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 3, "min_tokens": 4}, "min_tokens", "invalid_value"),
        ({"stop": ["a"] * 100_000}, "stop", "invalid_value"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens", "invalid_value"),
        ({"stop": ["a", ""]}, "stop.1", "invalid_value"),
        ({"logit_bias": {"word": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"presence_penalty": 2.5}, "presence_penalty", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "invalid_value"),
        ({"regex": "a", "choices": ["b"]}, "choices", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": None}, "messages", "missing_required_parameter"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages.0.tool_call_id",
            "invalid_value",
        ),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "missing_required_parameter"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0.type",
            "invalid_value",
        ),
        ({"temprature": 1}, "temprature", "unknown_parameter"),
        ({"tools": [{"type": "function"}]}, "tools.0.function", "missing_required_parameter"),
        ({"tools": [{"type": "custom"}]}, "tools.0.type", "invalid_value"),
        ({"tools": [TOOL, TOOL]}, "tools", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
            "tool_choice",
            "invalid_value",
        ),
        ({"modalities": ["audio"]}, "modalities", "unsupported_parameter"),
        ({"guided_grammar": "x"}, "guided_grammar", "unsupported_parameter"),
        ({"guided_json": {}, "regex": "a"}, "regex", "invalid_value"),
        ({"guided_choice": ["a"], "choices": ["b"]}, "guided_choice", "invalid_value"),
        ({"structured_outputs": {"grammar": "x"}}, "structured_outputs.grammar", "invalid_value"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),  # not by this engine
        *(
            ({name: 10**400}, name, "invalid_value")
            for name in ("max_tokens", "max_completion_tokens", "min_tokens", "top_k", "top_p")
        ),
        ({"seed": 10**400}, "seed", "invalid_value"),
        ({"priority": -(10**400)}, "priority", "invalid_value"),
        ({"stop_token_ids": [2**31]}, "stop_token_ids.0", "invalid_value"),
        ({"logit_bias": {"9" * 400: 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"5": 10**400}}, "logit_bias.5", "invalid_value"),
        ({"repetition_penalty": 0.001}, "repetition_penalty", "invalid_value"),
        ({"repetition_penalty": 101}, "repetition_penalty", "invalid_value"),
        ({"repetition_penalty": 10**400}, "repetition_penalty", "invalid_value"),
    ],
)
def test_a_wrong_field_of_a_chat_is_named(
    talk: Callable[..., Any], wrong: dict[str, Any], param: str | None, code: str
) -> None:
    answer = talk().post(CHAT, {"messages": HELLO, **wrong})

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == (param, code), error["message"]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "x", "best_of": 3}, "best_of"),
        ({"prompt": "x", "echo": True, "logprobs": 1}, "echo"),  # not by this engine
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": [1, 2, 3]}, "prompt"),  # the scripted engine has no token ids
        ({"prompt": [10**400]}, "prompt"),
        ({"prompt": "x", "max_tokens": 3, "min_tokens": 4}, "min_tokens"),
        ({"prompt": "x", "max_tokens": 10**400}, "max_tokens"),
    ],
)
def test_a_wrong_field_of_a_completion_is_named(
    talk: Callable[..., Any], wrong: dict[str, Any], param: str
) -> None:
    answer = talk().post(COMPLETE, wrong)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)


def test_fields_that_change_no_answer_are_ignored(talk: Callable[..., Any]) -> None:
    harmless = {
        "user": "me",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "prediction": {"type": "content", "content": "x"},
        "tools": [],
        "tool_choice": "none",
        "modalities": ["text"],
        "seed": None,
        "response_format": {"type": "text"},
    }
    assert talk().post(CHAT, {"messages": HELLO, **harmless}).status_code == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b""])
def test_a_body_that_is_no_json_object_is_refused(talk: Callable[..., Any], body: bytes) -> None:
    answer = talk().post(CHAT, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


def test_an_unknown_model_is_404_and_names_those_that_are_here(talk: Callable[..., Any]) -> None:
    for path in (CHAT, COMPLETE, "/tokenize"):
        body = {"model": "gpt-7", "messages": HELLO}
        answer = talk().post(path, {"model": "gpt-7", "prompt": "x"} if path != CHAT else body)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"
        assert "talker" in answer.json()["error"]["message"]


def test_the_model_may_be_a_name_a_url_or_left_out(talk: Callable[..., Any]) -> None:
    server = talk()
    for model in ("talker", "fake:talker", None):
        assert server.post(CHAT, {"messages": HELLO, "model": model}).status_code == 200
    assert server.post(CHAT, {"messages": HELLO, "model": "vectors"}).status_code == 404


def test_an_unknown_path_or_method_has_the_same_shape(talk: Callable[..., Any]) -> None:
    assert talk().get("/v2/chat").json()["error"]["code"] == "not_found"
    assert talk().get(CHAT).status_code == 405
    assert talk().get(CHAT).json()["error"]["type"] == "invalid_request_error"
    assert talk().get(CHAT).headers["allow"] == "POST"


def test_the_key_is_asked_of_all_but_probes(talk: Callable[..., Any]) -> None:
    server = talk(api_key="secret")
    body = {"messages": HELLO}

    refused = server.post(CHAT, body)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"
    assert server.post(CHAT, body, authorization="Bearer wrong").status_code == 401
    assert server.post(CHAT, body, authorization="Bearer secret").status_code == 200
    assert server.get("/v1/models").status_code == 401
    assert server.get("/health").status_code == 200
    assert server.get("/metrics").status_code == 200


@pytest.mark.parametrize("key", ["", " \n"])
def test_an_empty_key_does_not_open_the_server(talk: Callable[..., Any], key: str) -> None:
    with pytest.raises(ConfigError, match="key is empty"):
        talk(api_key=key)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("Bearer schlüssel".encode(), 200),
        ("bearer schlüssel".encode(), 200),
        ("BEARER  schlüssel".encode(), 200),
        (b"Bearer schlussel", 401),
        ("Basic schlüssel".encode(), 401),
        ("schlüssel".encode(), 401),
        (b"Bearer", 401),
        (b"", 401),
    ],
)
def test_a_key_is_compared_as_bytes_and_its_scheme_without_case(
    talk: Callable[..., Any], sent: bytes, status: int
) -> None:
    answer = talk(api_key="schlüssel").get("/v1/models", authorization=sent)

    assert answer.status_code == status


def test_a_prompt_beyond_the_context_has_openais_code(talk: Callable[..., Any]) -> None:
    server = talk(max_context_tokens=3)
    long = "one two three four five"
    for path, body, param in (
        (CHAT, {"messages": [{"role": "user", "content": long}]}, "messages"),
        (COMPLETE, {"prompt": long}, "prompt"),
        (COMPLETE, {"prompt": long, "stream": True}, "prompt"),
    ):
        answer = server.post(path, body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "context_length_exceeded"
        assert answer.json()["error"]["param"] == param


def test_one_bad_prompt_of_many_fails_the_request_and_frees_the_others(
    talk: Callable[..., Any],
) -> None:
    server = talk(max_context_tokens=3)

    answer = server.post(COMPLETE, {"prompt": ["a", "one two three four five", "b"]})

    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert server.llm.num_live_contexts == 0


def test_a_full_queue_is_429_with_a_time_to_come_again(talk: Callable[..., Any]) -> None:
    server = talk(max_queued=1, num_slots=1, token_s=0.01)

    answers = server.post_all(CHAT, [{"messages": HELLO}] * 4)

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 200, 429, 429]
    (refused, _) = [answer for answer in answers if answer.status_code == 429]
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "overloaded"
    assert server.post(CHAT, {"messages": HELLO}).status_code == 200


def test_more_answers_than_can_ever_run_are_refused_for_good(talk: Callable[..., Any]) -> None:
    answer = talk(max_queued=1, num_slots=1).post(CHAT, {"messages": HELLO, "n": 3})

    assert answer.status_code == 400


def test_before_it_is_ready_all_is_503_but_the_metrics(talk: Callable[..., Any]) -> None:
    server = talk(ready=False)

    assert server.post(CHAT, {"messages": HELLO}).status_code == 503
    assert server.get("/health").json()["error"]["code"] == "not_ready"
    assert server.get("/metrics").status_code == 200


def test_our_own_mistake_is_a_500_in_the_same_shape(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = talk()
    monkeypatch.setattr(server.llm, "execute", lambda requests: 1 / 0)

    answer = server.post(CHAT, {"messages": HELLO})

    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param"),
    [
        (RequestTooLong("600 tokens"), 400, "invalid_request_error", LENGTH, "messages"),
        (RequestRejected("no turn"), 400, "invalid_request_error", "invalid_value", "messages"),
        (RequestRejected("stop is empty"), 400, "invalid_request_error", "invalid_value", "stop"),
        (EngineOverloaded("pinned"), 429, "rate_limit_error", "overloaded", None),
        (EngineUnavailable("closed"), 503, "server_error", "engine_unavailable", None),
        (EngineError("broke"), 500, "server_error", "engine_error", None),
        (KeyError("ours"), 500, "server_error", "internal_error", None),
    ],
)
def test_every_failure_of_an_engine_has_a_status_that_says_whether_to_come_again(
    error: Exception, status: int, kind: str, code: str, param: str | None
) -> None:
    told = from_engine(error, "messages")
    assert told.status == status
    fields = told.body["error"]
    assert (fields["type"], fields["code"], fields["param"]) == (kind, code, param)
    assert ("retry-after" in told.response().headers) == (status in (429, 503))


@pytest.mark.parametrize(("asked_s", "told"), [(None, "1"), (7.2, "8")])
def test_an_engine_without_room_says_when_to_come_again(asked_s: float | None, told: str) -> None:
    answer = from_engine(EngineOverloaded("full", asked_s), "messages").response()
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == told


def test_of_an_engine_that_is_left_alone_the_client_hears_when_it_is_asked_again() -> None:
    answer = from_engine(EngineLeftAlone("gone", 3.2), "messages").response()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "4")
