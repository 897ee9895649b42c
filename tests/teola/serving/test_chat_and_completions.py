"""The two routes of the LLM over a scripted engine: shapes, streams, counts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backends.base import Request, Usage

CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]
THREE = {"hello": "one two three"}


def test_a_chat_completion_has_openais_shape(talk: Callable[..., Any]) -> None:
    body = talk(replies=THREE).post(CHAT, {"model": "talker", "messages": HELLO}).json()

    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == "talker"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one two three", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["completion_tokens"] == 3
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 3


def test_turns_become_markup_and_text_stays_text(talk: Callable[..., Any]) -> None:
    server = talk()
    conversation = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]
    server.post(CHAT, {"messages": conversation})

    ((op, (_, *parts)),) = server.llm.journal[0]
    turns = [part.role if not isinstance(part, str) else part for part in parts]
    assert op == "prefill"
    assert turns == [
        *("system", "Be brief.", "user", "ab", "assistant", "c", "user", "d", "assistant"),
    ]


def test_a_final_message_may_be_continued(talk: Callable[..., Any]) -> None:
    server = talk()
    said = [*HELLO, {"role": "assistant", "content": "Well,"}]
    server.post(CHAT, {"messages": said, "continue_final_message": True})

    ((_, (_, *parts)),) = server.llm.journal[0]
    assert parts[-1] == "Well,"


def test_a_stream_is_pieces_then_a_reason_then_usage(talk: Callable[..., Any]) -> None:
    server = talk(replies=THREE)
    body = {"messages": HELLO, "stream_options": {"include_usage": True}}
    *chunks, usage = server.events(CHAT, body)

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta.get("content") for delta in deltas[1:]] == ["one ", "two ", "three", None]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * 4 + ["stop"]
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3
    assert len({chunk["id"] for chunk in (*chunks, usage)}) == 1


def test_without_include_usage_no_event_speaks_of_usage(talk: Callable[..., Any]) -> None:
    events = talk(replies=THREE).events(CHAT, {"messages": HELLO})

    assert all("usage" not in event for event in events)


def test_text_of_any_kind_survives_the_stream(talk: Callable[..., Any]) -> None:
    text = 'quote " back\\slash\nnew 漢字 😀'
    events = talk(replies={"hello": text}).events(CHAT, {"messages": HELLO})

    pieces = [event["choices"][0]["delta"].get("content") or "" for event in events]
    assert "".join(pieces) == text


def test_several_answers_share_one_prefill(talk: Callable[..., Any]) -> None:
    server = talk(replies=THREE)
    body = server.post(CHAT, {"messages": HELLO, "n": 3}).json()

    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert [ran[0][0] for ran in server.llm.journal] == ["prefill", "decode", "decode", "decode"]
    one = server.post(CHAT, {"messages": HELLO}).json()["usage"]
    assert body["usage"]["prompt_tokens"] == one["prompt_tokens"]
    assert body["usage"]["completion_tokens"] == 3 * one["completion_tokens"]


def test_answers_of_one_seed_differ_and_repeat(talk: Callable[..., Any]) -> None:
    server = talk()
    body = {"messages": HELLO, "n": 2, "seed": 7}
    first, again = (server.post(CHAT, body).json()["choices"] for _ in range(2))

    assert first == again
    assert first[0]["message"] != first[1]["message"]


def test_answers_of_a_stream_carry_their_index(talk: Callable[..., Any]) -> None:
    events = talk(replies=THREE).events(CHAT, {"messages": HELLO, "n": 2})

    texts = ["", ""]
    for event in events:
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["delta"].get("content") or ""
    assert texts == ["one two three"] * 2


def test_a_limit_of_tokens_ends_the_answer_with_length(talk: Callable[..., Any]) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        body = talk(replies=THREE).post(CHAT, {"messages": HELLO, field: 2}).json()
        assert body["choices"][0]["message"]["content"] == "one two "
        assert body["choices"][0]["finish_reason"] == "length"


def test_a_completion_has_openais_shape(talk: Callable[..., Any]) -> None:
    body = talk(replies=THREE).post(COMPLETE, {"prompt": "hello"}).json()

    assert body["object"] == "text_completion"
    choice = {"index": 0, "text": "one two three", "logprobs": None, "finish_reason": "stop"}
    assert body["choices"] == [choice]


def test_many_prompts_are_answered_in_order_n_each(talk: Callable[..., Any]) -> None:
    server = talk(replies={"first": "1", "second": "2"})
    body = server.post(COMPLETE, {"prompt": ["first", "second"], "n": 2}).json()

    assert [choice["text"] for choice in body["choices"]] == ["1", "1", "2", "2"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]


def test_a_streamed_completion_has_text_in_its_choices(talk: Callable[..., Any]) -> None:
    events = talk(replies=THREE).events(COMPLETE, {"prompt": "hello"})

    assert [event["choices"][0]["text"] for event in events] == ["one ", "two ", "three", ""]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_every_context_is_released(talk: Callable[..., Any]) -> None:
    server = talk()
    server.post(CHAT, {"messages": HELLO, "n": 3})
    server.events(CHAT, {"messages": HELLO, "n": 2})

    assert server.llm.num_live_contexts == 0


def test_a_priority_goes_with_prompt_and_answer(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = talk()
    execute, seen = server.llm.execute, []

    async def noted(requests: list[Request]) -> Any:
        seen.extend((request.op, request.priority) for request in requests)
        return await execute(requests)

    monkeypatch.setattr(server.llm, "execute", noted)
    server.post(CHAT, {"messages": HELLO, "priority": 7})
    assert seen == [("prefill", 7), ("decode", 7)]


def test_forced_tokens_are_written_ones_and_a_prompt_is_counted_where_it_is_computed(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = talk(replies=THREE)
    execute = server.llm.execute

    async def forcing(requests: list[Request]) -> Any:
        results = await execute(requests)
        usage = Usage(cached_tokens=5, decode_tokens=3, forced_tokens=2)
        is_decode = requests[0].op == "decode"
        return [replace(result, usage=usage) if is_decode else result for result in results]

    monkeypatch.setattr(server.llm, "execute", forcing)
    usage = server.post(CHAT, {"messages": HELLO}).json()["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}, None),
    ],
)
def test_response_formats_become_schemas(talk: Callable[..., Any], field: Any, schema: Any) -> None:
    from teola.serving.decode_fields import DecodeFields

    attrs = DecodeFields.model_validate({"response_format": field}).attrs(9, None)
    assert attrs["schema"] == ('{"type": "object"}' if schema else '{"type": "null"}')


def test_an_engine_that_fails_midway_ends_the_stream_with_an_error(
    talk: Callable[..., Any],
) -> None:
    server = talk(replies=THREE, fail={"decode": "out of luck"})
    whole = server.post(CHAT, {"messages": HELLO})
    streamed = server.post(CHAT, {"messages": HELLO, "stream": True})

    assert whole.status_code == 500
    assert streamed.status_code == 500  # nothing had been said yet
    assert whole.json()["error"]["code"] == "engine_error"
    assert "out of luck" in streamed.json()["error"]["message"]
    assert server.llm.num_live_contexts == 0
