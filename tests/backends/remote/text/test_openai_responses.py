"""The bodies and answers of the responses API, as OpenAI's API reference has them."""

from typing import Any

import pytest
from scripted_server import USER, Events, Status, talk

from backends.base import Sample, ToolCall, Turn, Usage
from backends.errors import ContentRefused, EngineError, RequestRejected
from backends.tool_calls.turn import ToolTurn, read_turn, turn_text

PATH = "/v1/responses"
NEW = {"api": "responses"}
TOOL = {"name": "weather", "description": "Now", "parameters": {"type": "object"}}


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b",
        "status": "completed",
        "role": "assistant",
        "content": list(content),
    }


def text(value: str = "D. Richard Hipp.", **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": value, "annotations": [], **more}


def response(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "object": "response",
        "created_at": 1741476542,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "m",
        "output": list(output),
        "parallel_tool_calls": True,
        "store": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 0},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 123,
        },
        **fields,
    }


def stream(final: dict[str, Any], *deltas: str, end: str = "response.completed") -> Events:
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**final, "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": message()},
        *({"type": "response.output_text.delta", "delta": d, "output_index": 0} for d in deltas),
        {"type": "response.output_text.done", "text": "".join(deltas)},
        {"type": end, "response": final},
    ]
    return Events(events)


def test_the_prompt_is_input_and_nothing_is_stored() -> None:
    found = talk({PATH: response(message(text()))}, options=NEW, max_tokens=50)
    assert found.body == {
        "model": "m",
        "input": [{"role": "user", "content": "Who wrote SQLite?"}],
        "store": False,
        "max_output_tokens": 50,
        "temperature": 0.0,
    }
    assert found.result.outputs == ("D. Richard Hipp.",)
    assert found.result.usage == Usage(prefill_tokens=6, cached_tokens=30, decode_tokens=87)


def test_the_first_system_turn_becomes_the_instructions() -> None:
    parts = (Turn("system"), "Be brief.", *USER)
    found = talk({PATH: response(message(text()))}, parts, options=NEW)
    assert found.body["instructions"] == "Be brief."
    assert found.body["input"] == [{"role": "user", "content": "Who wrote SQLite?"}]


def test_a_prompt_without_turns_is_the_input_itself() -> None:
    found = talk({PATH: response(message(text()))}, ("Hi",), options=NEW)
    assert found.body["input"] == "Hi"


def test_deltas_are_emitted_and_the_last_event_has_the_whole() -> None:
    answer = stream(response(message(text("D. Hipp"))), "D. ", "Hipp")
    found = talk({PATH: answer}, options=NEW, streams=True)
    assert found.body["stream"] is True
    assert found.pieces == ["D. ", "Hipp"]
    assert found.result.outputs == ("D. Hipp",)
    assert found.result.usage.decode_tokens == 87


def test_a_schema_goes_under_text() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    found = talk({PATH: response(message(text('{"a": 1}')))}, options=NEW, schema=schema)
    assert found.body["text"]["format"] == {
        "type": "json_schema",
        "name": "answer",
        "strict": True,
        "schema": {**schema, "additionalProperties": False},
    }


def test_any_object_is_json_mode() -> None:
    found = talk({PATH: response(message(text("{}")))}, options=NEW, schema={"type": "object"})
    assert found.body["text"] == {"format": {"type": "json_object"}}


def test_streamed_choices_come_out_of_their_object() -> None:
    final = response(message(text('{"answer": "yes"}')))
    answer = stream(final, '{"answer"', ': "yes"}')
    found = talk({PATH: answer}, options=NEW, choices=["yes", "no"], streams=True)
    assert found.pieces == ["yes"]
    assert found.result.outputs == ("yes",)


def test_tools_are_flat_and_calls_are_items_of_the_output() -> None:
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_unLAR8MvFNptuiZK6K6HCy5k",
        "name": "weather",
        "arguments": '{"city":"Bern"}',
        "status": "completed",
    }
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    found = talk(
        {PATH: response(reasoning, call)}, options=NEW, tools=[TOOL], tool_choice="weather"
    )
    assert found.body["tools"] == [{"type": "function", **TOOL, "strict": False}]
    assert found.body["tool_choice"] == {"type": "function", "name": "weather"}
    wanted = ToolCall("call_unLAR8MvFNptuiZK6K6HCy5k", "weather", '{"city":"Bern"}')
    assert found.result.samples == (Sample("tool_calls", tool_calls=(wanted,)),)


def test_calls_and_their_answers_are_items_of_the_input() -> None:
    made = ToolTurn("So.", (ToolCall("x", "weather", "{}"),))
    parts = (*USER, turn_text(made), Turn("tool"), "dry", Turn("assistant"))
    found = talk({PATH: response(message(text("Dry.")))}, parts, options=NEW, tools=[TOOL])
    assert found.body["input"][1:] == [
        {"role": "assistant", "content": "So."},
        {"type": "function_call", "call_id": "x", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "x", "output": "dry"},
    ]
    assert read_turn(found.result.outputs[0]) == ToolTurn("Dry.")


def test_log_probabilities_are_included_on_request() -> None:
    token = {"token": "D", "bytes": [68], "logprob": -0.3, "top_logprobs": []}
    answer = response(message(text("D", logprobs=[token])))
    found = talk({PATH: answer}, options=NEW, logprobs=1)
    assert found.body["include"] == ["message.output_text.logprobs"]
    assert found.body["top_logprobs"] == 1
    assert [t.raw for t in found.result.samples[0].logprobs] == [b"D"]


def test_samples_are_requests_of_their_own() -> None:
    found = talk({PATH: response(message(text()))}, options=NEW, n=2, temperature=1.0)
    assert len(found.script.posts()) == 2
    assert found.result.outputs == (["D. Richard Hipp."] * 2,)


def test_an_incomplete_response_was_cut_or_filtered() -> None:
    cut = response(
        message(text("D.")),
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    )
    assert talk({PATH: cut}, options=NEW).result.finish_reason == "length"
    streamed = stream(cut, "D.", end="response.incomplete")
    assert talk({PATH: streamed}, options=NEW, streams=True).result.finish_reason == "length"
    filtered = {**cut, "incomplete_details": {"reason": "content_filter"}}
    assert isinstance(talk({PATH: filtered}, options=NEW).error, ContentRefused)


def test_a_refusal_and_a_failure_are_typed_errors() -> None:
    refusal = message({"type": "refusal", "refusal": "I cannot help."})
    refused = talk({PATH: response(refusal)}, options=NEW)
    assert isinstance(refused.error, ContentRefused)
    error = {"code": "server_error", "message": "The model failed to generate a response."}
    failed = response(status="failed", error=error, usage=None)
    streamed = talk({PATH: stream(failed, end="response.failed")}, options=NEW, streams=True)
    assert type(streamed.error) is EngineError
    assert "The model failed to generate" in str(streamed.error)


def test_an_error_event_ends_the_stream() -> None:
    event = {"type": "error", "error": {"code": "server_error", "message": "Out of luck"}}
    found = talk({PATH: Events([event])}, options=NEW, streams=True)
    assert "Out of luck" in str(found.error)


@pytest.mark.parametrize(
    ("attr", "value"),
    [
        ("stop", ["."]),
        ("seed", 1),
        ("presence_penalty", 0.1),
        ("logit_bias", {1: 1}),
        ("top_k", 3),
        ("regex", "a"),
        ("cache_salt", "t"),
    ],
)
def test_what_the_api_lacks_is_refused_by_name(attr: str, value: Any) -> None:
    found = talk({PATH: response(message(text()))}, options=NEW, **{attr: value})
    assert isinstance(found.error, RequestRejected)
    assert str(found.error).startswith(attr)
    assert found.script.posts() == []


def test_a_begun_answer_is_refused() -> None:
    found = talk({PATH: response(message(text()))}, (*USER, "Well,"), options=NEW)
    assert "always begins a new one" in str(found.error)


def test_a_reasoning_model_gets_no_temperature() -> None:
    refusal = {"error": {"message": "Unsupported parameter: 'temperature' is not supported"}}
    answers = {PATH: [Status(400, refusal), response(message(text()))]}
    found = talk(answers, options=NEW)
    assert "temperature" not in found.body
    assert found.result.outputs == ("D. Richard Hipp.",)
