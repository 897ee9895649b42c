"""Apps as models: `/v1/models` and `/v1/chat/completions`."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from backends.errors import EngineOverloaded, EngineUnavailable, RequestTooLong
from teola.app_serving import chat_api

sys.path.insert(0, str(Path(__file__).parent))

from leaving import leave_when
from service_apps import (
    ask,
    fail,
    find,
    history,
    llm,
    measure,
    optional,
    short,
    slow,
    started,
    steps,
    stopped,
    talk,
    twice,
    wait,
)

Serve = Callable[..., Any]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def asked(serve: Serve) -> Iterator[Any]:
    """A server whose app never runs."""
    with serve(ask) as client:
        yield client


def content_of(chunks: list[Any]) -> str:
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk.get("choices")]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream waits for as long as it takes, whether its run fails at once."""
    monkeypatch.setattr(chat_api, "_STATUS_S", 60.0)


def pieces_of(chunks: list[Any]) -> list[str]:
    texts = (chunk["choices"][0]["delta"].get("content") for chunk in chunks)
    return [text for text in texts if text]


def test_apps_that_can_chat_are_models(serve: Serve) -> None:
    with serve(ask, measure, talk, optional) as client:
        listed = client.http.get("/v1/models").json()
        assert listed["object"] == "list"
        assert [card["id"] for card in listed["data"]] == ["ask", "talk", "optional"]
        card = listed["data"][0]
        assert (card["object"], card["owned_by"], card["kind"]) == ("model", "teola", "app")
        assert (card["description"], card["created"] > 0) == ("Answers a question.", True)
        assert client.http.get("/v1/models/ask").json() == card
        assert client.http.get("/v1/models/rag").status_code == 404


def test_a_chat_gives_the_app_the_last_message_of_the_user(serve: Serve) -> None:
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answered"},
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("sec", "ond")]},
    ]
    with tl.fake(llm, {"Q: second": "Paris it is"}), serve(ask) as client:
        body = client.chat("ask", said).json()
        (choice,) = body["choices"]
        assert choice["message"] == {"role": "assistant", "content": "Paris it is", "refusal": None}
        assert choice["finish_reason"] == "stop"
        assert (body["object"], body["model"]) == ("chat.completion", "ask")
        assert body["usage"]["completion_tokens"] == 3
        run = client.http.get(f"/v1/runs/{body['id'].replace('chatcmpl-', 'run_')}").json()
    assert (run["app"], run["result"], run["usage"]) == ("ask", "Paris it is", body["usage"])


def test_an_app_with_messages_is_given_the_conversation(serve: Serve) -> None:
    said = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "My name is Bob."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "name?"},
    ]
    rule = r"system\|>Be brief.*name is Bob.*Hello.*name\?"
    with tl.fake(llm, {rule: "it is Bob"}), serve(talk) as client:
        body = client.chat("talk", said).json()
    assert body["choices"][0]["message"]["content"] == "it is Bob"


def test_a_conversation_of_thousands_of_messages_is_answered(serve: Serve) -> None:
    said = [{"role": "user", "content": f"Message {number}."} for number in range(4096)]
    with tl.fake(llm, {"Message 4095": "read"}), serve(talk) as client:
        answer = client.chat("talk", said)
        assert answer.json()["choices"][0]["message"]["content"] == "read"
        assert client.chat("talk", [*said, said[0]]).json()["error"]["param"] == "messages"


def test_a_conversation_with_calls_of_tools_is_given_whole(serve: Serve) -> None:
    function = {"name": "find", "arguments": "{}"}
    call = {"id": "call_1", "type": "function", "function": function}
    said = [
        {"role": "user", "content": "tea?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "green"},
    ]
    with serve(history) as client:
        given = client.http.post(
            "/v1/chat/completions", json={"model": "history", "messages": said}
        ).json()["choices"][0]["message"]["content"]
    assert given == (
        '[{"role": "user", "content": "tea?"}, {"role": "assistant", "content": "", "tool_calls": '
        '[{"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}]}, '
        '{"role": "tool", "content": "green", "tool_call_id": "call_1"}]'
    )


def test_an_argument_with_a_default_is_the_first_where_none_is_required(serve: Serve) -> None:
    with tl.fake(llm, {"Q: brief tea": "yes"}), serve(optional) as client:
        assert client.chat("optional", "tea").json()["choices"][0]["message"]["content"] == "yes"


def test_only_the_answers_own_text_is_streamed(serve: Serve) -> None:
    with tl.fake(llm, {"Shorten": "it is", "Q": "Paris it is"}), serve(twice) as client:
        chunks = client.chunks("twice", "the capital?")
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert content_of(chunks) == "it is"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)


def test_a_stream_of_an_async_app_has_its_last_text(serve: Serve) -> None:
    with tl.fake(llm, {"Shorten": "it is", "Q": "Paris it is"}), serve(steps) as client:
        assert content_of(client.chunks("steps", "the capital?")) == "it is"


def test_a_result_that_was_not_streamed_comes_whole(serve: Serve) -> None:
    with serve(find) as client:
        whole = client.chat("find", "Rome").json()["choices"][0]["message"]["content"]
        assert whole == '{"place": {"name": "Rome", "size": 2}, "ratio": null}'
        assert pieces_of(client.chunks("find", "Rome")) == [whole]


def test_the_usage_of_a_stream_comes_last_when_it_is_asked_for(serve: Serve) -> None:
    with tl.fake(llm, {"Shorten": "it is", "Q": "Paris it is"}), serve(twice) as client:
        chunks = client.chunks("twice", "?", stream_options={"include_usage": True})
        whole = client.chat("twice", "?").json()["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert whole["total_tokens"] == chunks[-1]["usage"]["total_tokens"]


def test_an_answer_that_a_limit_cut_says_so(serve: Serve) -> None:
    with tl.fake(llm, "word " * 100), serve(ask, steps) as client:
        for app in ("ask", "steps"):
            assert client.chat(app, "?").json()["choices"][0]["finish_reason"] == "length"
            chunks = client.chunks(app, "?", stream_options={"include_usage": True})
            assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    with tl.fake(llm, {"Shorten": "it is", "Q": "word " * 100}), serve(twice) as client:
        assert client.chat("twice", "?").json()["choices"][0]["finish_reason"] == "stop"


def test_the_model_may_be_left_out_where_it_is_the_only_one(serve: Serve) -> None:
    with tl.fake(llm, "yes"), serve(ask, measure) as client:
        assert client.chat(None, "?").json()["model"] == "ask"
    with serve(ask, talk) as client:
        error = client.chat(None, "?").json()["error"]
    assert (error["param"], error["code"]) == ("model", "missing_required_parameter")


def test_a_model_that_is_not_there_is_named_with_those_that_are(serve: Serve) -> None:
    with serve(ask, measure) as client:
        answer = client.chat("rag", "?")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert "this server has ask" in answer.json()["error"]["message"]


def test_an_app_that_cannot_chat_says_why_and_what_to_do(serve: Serve) -> None:
    with serve(measure) as client:
        answer = client.chat("measure", "?")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "model", "cannot_chat")
    assert "required arguments: place, tags" in error["message"]
    assert "POST /v1/apps/measure/runs" in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["x"]}, "stop"),
        ({"seed": 5}, "seed"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"temperature": "warm"}, "temperature"),
        ({"audio": {}}, "audio"),
        ({"temprature": 1}, "temprature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "messages.0.content.0.type"),
    ],
)  # fmt: skip
def test_what_an_app_cannot_do_is_refused_by_name(
    asked: Any, fields: dict[str, Any], param: str
) -> None:
    answer = asked.chat("ask", "?", **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_what_clients_send_for_any_model_is_read_with_a_warning(serve: Serve) -> None:
    function = {"name": "now", "parameters": {"type": "object"}}
    fields = {
        "temperature": 0.7,
        "max_tokens": 1000,
        "top_p": 1,
        "tools": [{"type": "function", "function": function}],
        "reasoning_effort": "low",
        "frequency_penalty": 0,
        "user": "me",
        "n": 1,
        "skip_special_tokens": True,
        "documents": [],
    }
    with tl.fake(llm, "fine"), serve(ask) as client:
        answer = client.chat("ask", "?", **fields)
        assert answer.json()["choices"][0]["message"]["content"] == "fine"
        assert "x-teola-warning" not in client.chat("ask", "?", top_p=1).headers
    said = answer.headers["x-teola-warning"]
    assert said == "reasoning_effort, temperature, max_tokens, tools: without effect on this server"


def test_a_wrong_argument_is_told_of_the_message_it_came_from(serve: Serve) -> None:
    said = [{"role": "user", "content": "too long"}, {"role": "assistant", "content": "x"}]
    with serve(short, talk) as client:
        error = client.chat("short", said).json()["error"]
        call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
        wrong = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "b", "tool_call_id": "c"},
        ]
        other = client.chat("talk", wrong).json()["error"]
    assert error["param"] == "messages.0.content"
    assert error["message"].startswith("messages.0.content: String should have at most 5")
    assert other["param"] == "messages.2.role"


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestTooLong("9 tokens, 8 fit"), 400, "context_length_exceeded"),
        (EngineOverloaded("full"), 429, "overloaded"),
    ],
)
def test_a_run_that_fails_at_once_has_its_status(
    serve: Serve, error: Exception, status: int, code: str, streams: bool
) -> None:
    with tl.fake(llm, error), serve(ask) as client:
        answer = client.chat("ask", "?", stream=streams)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("retry-after") == ("1" if status == 429 else None)


@tl.tool
def charge(question: str) -> str:
    return f"charged for {question}"


@tl.prompt(llm, max_tokens=8)
def say_it(text: str) -> str:
    return text


@tl.app
async def pays(question: str) -> str:
    return await tl.value(say_it(await tl.value(charge(question))))


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize("error", [EngineUnavailable("away"), EngineOverloaded("full")])
def test_an_app_that_called_a_tool_is_not_run_again_by_clients(
    serve: Serve, error: Exception
) -> None:
    with tl.fake(llm, error), serve(pays, ask) as client:
        done = [client.chat("pays", "?", stream=streams) for streams in (False, True)]
        done.append(client.run("pays", arguments={"question": "?"}))
        again = client.chat("ask", "?")
    assert all(answer.headers["x-should-retry"] == "false" for answer in done)
    assert not any("retry-after" in answer.headers for answer in done)
    assert {answer.status_code for answer in (*done, again)} == {again.status_code}
    assert (again.headers["retry-after"], "x-should-retry" in again.headers) == ("1", False)


@tl.app
async def half(question: str) -> str:
    if question == "fail":
        raise tl.errors.AgentError("half \ud83d")
    return f"half {question} \ud83d"


def test_half_of_an_emoji_is_answered(serve: Serve) -> None:
    with serve(half) as client:
        answer = client.chat("half", "an")
        failed = client.chat("half", "fail")
    assert answer.json()["choices"][0]["message"]["content"] == "half an \ud83d"
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "agent_failed")


@pytest.mark.usefixtures("_patient")
def test_a_failed_app_is_not_run_again_by_clients(serve: Serve) -> None:
    with serve(fail) as client:
        for streams in (False, True):
            answer = client.chat("fail", "?", stream=streams)
            assert (answer.status_code, answer.headers["x-should-retry"]) == (500, "false")
            assert answer.json()["error"]["message"].startswith("fail: KeyError; see run run_")


def test_a_run_that_fails_late_ends_its_stream_with_an_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_api, "_STATUS_S", 0.05)
    with serve(slow) as client:
        *chunks, last = client.chunks("slow", "?")
    assert content_of(chunks) == ""
    assert last["error"]["message"].startswith("slow: ValueError; see run run_")


def test_chats_beyond_the_limit_of_runs_are_refused(serve: Serve) -> None:
    with serve(wait, max_runs=1) as client:
        first = client.run("wait", arguments={"name": "takes the place"}, background=True).json()
        for streams in (False, True):
            refused = client.chat("wait", "too many", stream=streams)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        client.http.post(f"/v1/runs/{first['id']}/cancel")


@pytest.mark.parametrize(("streams", "is_open"), [(False, False), (True, False), (True, True)])
def test_a_client_that_leaves_a_chat_cancels_its_run(
    serve: Serve, streams: bool, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"left chat {streams} {is_open}"
    monkeypatch.setattr(chat_api, "_STATUS_S", 0.05 if is_open else 60.0)
    with serve(wait) as client:
        messages = [{"role": "user", "content": name}]
        body = {"model": "wait", "messages": messages, "stream": streams}
        if is_open:
            with client.http.stream("POST", CHAT, json=body) as answer:
                assert answer.status_code == 200
        else:
            leave_when(client.url, CHAT, body, lambda: name in started)
        end_s = time.monotonic() + 15.0
        while name not in stopped:
            assert time.monotonic() < end_s
            time.sleep(0.01)
        client.comes_to('teola_app_runs_total{app="wait",status="cancelled"}', 1)
        client.comes_to("teola_requests_aborted_total", 1)
        client.comes_to("teola_num_requests_waiting", 0)


def test_a_cancelled_run_ends_its_chat(serve: Serve) -> None:
    messages = [{"role": "user", "content": "cancelled chat"}]
    body = {"model": "wait", "messages": messages, "stream": True}
    with serve(wait) as client, client.http.stream("POST", CHAT, json=body) as answer:
        (run_id,) = client.service._running
        client.http.post(f"/v1/runs/{run_id}/cancel")
        *_, last, done = filter(None, answer.iter_lines())
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "run_cancelled"
    assert done == "data: [DONE]"


def test_a_chat_needs_the_key(serve: Serve) -> None:
    with tl.fake(llm, "yes"), serve(ask, key="secret") as client:
        assert client.chat("ask", "?").status_code == 401
        assert client.http.get("/v1/models").status_code == 401
