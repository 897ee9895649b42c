"""The bodies and answers of OpenAI's chat completions, as its API reference has them."""

from typing import Any

import pytest
from scripted_server import USER, Events, Status, talk

from backends.base import Sample, ToolCall, Turn, Usage
from backends.errors import AnswerInvalid, ContentRefused, EngineError, RequestRejected
from backends.tool_calls.turn import ToolTurn, read_turn, turn_text

PATH = "/v1/chat/completions"
TOOL = {
    "name": "weather",
    "description": "The weather now",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def completion(
    content: str | None = "D. Richard Hipp.", finish: str = "stop", **message: Any
) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, "refusal": None, **message}
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-5.4",
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
        "service_tier": "default",
    }


def chunks(*deltas: dict[str, Any], finish: str = "stop") -> Events:
    def chunk(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return {**head, "choices": [choice], "usage": None}

    usage = {**completion()["usage"], "completion_tokens": len(deltas)}
    first = chunk({"role": "assistant", "content": "", "refusal": None}, None)
    last = {**chunk({}, None), "choices": [], "usage": usage}
    return Events([first, *(chunk(d, None) for d in deltas), chunk({}, finish), last])


def test_a_greedy_question_is_sent_with_its_defaults_written_out() -> None:
    found = talk({PATH: completion()})
    assert found.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Who wrote SQLite?"}],
        "max_tokens": 256,
        "temperature": 0.0,
    }
    assert found.result.outputs == ("D. Richard Hipp.",)
    assert found.result.finish_reason == "stop"
    assert found.result.samples == (Sample("stop"),)


def test_usage_counts_cached_tokens_apart_and_reasoning_among_the_written() -> None:
    usage = talk({PATH: completion()}).result.usage
    assert usage == Usage(prefill_tokens=3, cached_tokens=16, decode_tokens=10)


def test_sampling_is_sent_under_openais_names() -> None:
    found = talk(
        {PATH: completion()},
        temperature=0.7,
        top_p=0.9,
        max_tokens=30,
        seed=5,
        stop=["\n"],
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={11: -100},
    )
    assert found.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Who wrote SQLite?"}],
        "max_tokens": 30,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 5,
        "stop": ["\n"],
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {"11": -100.0},
    }


@pytest.mark.parametrize(
    ("attr", "value"),
    [
        ("top_k", 5),
        ("min_p", 0.1),
        ("min_tokens", 3),
        ("stop_token_ids", [2]),
        ("ignore_eos", True),
        ("repetition_penalty", 1.1),
        ("speculate", True),
        ("regex", "a+"),
        ("adapter", "sql"),
        ("cache_salt", "tenant"),
    ],
)
def test_what_openai_cannot_do_is_refused_by_name_and_nothing_is_sent(
    attr: str, value: Any
) -> None:
    found = talk({PATH: completion()}, **{attr: value})
    assert isinstance(found.error, RequestRejected)
    assert str(found.error).startswith(attr)
    assert found.script.posts() == []


def test_neutral_values_of_what_openai_lacks_are_no_reason_to_refuse() -> None:
    neutral: dict[str, Any] = {"top_k": None, "min_p": 0.0, "min_tokens": 0, "ignore_eos": False}
    found = talk({PATH: completion()}, repetition_penalty=1.0, **neutral)
    assert found.result.outputs == ("D. Richard Hipp.",)


def test_a_stream_emits_each_piece_and_counts_from_its_last_event() -> None:
    answer = chunks({"content": "D. "}, {"content": "Richard"}, {"content": " Hipp."})
    found = talk({PATH: answer}, streams=True)
    assert found.pieces == ["D. ", "Richard", " Hipp."]
    assert found.result.outputs == ("D. Richard Hipp.",)
    assert found.result.usage == Usage(prefill_tokens=3, cached_tokens=16, decode_tokens=3)
    assert found.body["stream"] is True
    assert found.body["stream_options"] == {"include_usage": True}


def test_a_turn_of_the_system_and_earlier_turns_are_messages() -> None:
    parts = (
        Turn("system"),
        "Be brief.",
        Turn("user"),
        "Hi",
        Turn("assistant"),
        "Hello.",
        Turn("user"),
        "Who ",
        "are you?",
        Turn("assistant"),
    )
    found = talk({PATH: completion()}, parts)
    assert found.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Who are you?"},
    ]


def test_a_prompt_without_turns_is_one_message_of_the_user() -> None:
    found = talk({PATH: completion()}, ("Once upon ", "a time"))
    assert found.body["messages"] == [{"role": "user", "content": "Once upon a time"}]


@pytest.mark.parametrize("finish", ["content_filter", "end_turn", None])
def test_an_end_that_is_no_answer_is_an_error_that_names_the_url(finish: Any) -> None:
    found = talk({PATH: completion(finish=finish)})
    assert "POST http://127.0.0.1:" in str(found.error)
    assert f"{PATH}: " in str(found.error)


def test_calls_of_a_stream_without_an_index_are_told_apart_by_their_ids() -> None:
    def piece(arguments: str, **more: Any) -> dict[str, Any]:
        return {"tool_calls": [{**more, "function": {"name": "weather", "arguments": arguments}}]}

    pieces = (piece("{", id="a"), piece("}"), piece("[", id="b", index=None), piece("]", id="b"))
    found = talk({PATH: chunks(*pieces, finish="tool_calls")}, streams=True, tools=[TOOL])
    calls = found.result.samples[0].tool_calls
    assert calls == (ToolCall("a", "weather", "{}"), ToolCall("b", "weather", "[]"))


def test_counts_below_zero_are_none() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": -2,
        "prompt_tokens_details": {"cached_tokens": -9},
    }
    found = talk({PATH: {**completion(), "usage": usage}})
    assert found.result.usage == Usage(prefill_tokens=3)


def test_an_answer_that_the_prompt_begins_is_refused_with_where_it_works() -> None:
    found = talk({PATH: completion()}, (*USER, "Thought:"))
    assert isinstance(found.error, RequestRejected)
    assert "vllm://" in str(found.error)
    assert found.script.posts() == []


def test_n_samples_come_in_the_order_of_their_index() -> None:
    answer = completion()
    answer["choices"] = [
        {"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
        {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"},
    ]
    found = talk({PATH: answer}, n=2, temperature=1.0)
    assert found.body["n"] == 2
    assert found.result.outputs == (["a", "b"],)
    assert [sample.finish_reason for sample in found.result.samples] == ["stop", "length"]
    assert found.result.finish_reason == "length"


def test_fewer_samples_than_asked_for_are_an_error() -> None:
    found = talk({PATH: completion()}, n=2, temperature=1.0)
    assert "2 answers were asked for and 1 came" in str(found.error)


def test_seeded_samples_are_one_request_each_so_that_their_seeds_are_known() -> None:
    found = talk({PATH: completion()}, n=3, seed=7, temperature=1.0)
    assert sorted(body["seed"] for body in found.script.posts()) == [7, 8, 9]
    assert all("n" not in body for body in found.script.posts())
    assert found.result.outputs == (["D. Richard Hipp."] * 3,)
    assert found.result.usage.decode_tokens == 30


def test_tools_are_sent_and_their_calls_come_with_the_sample() -> None:
    calls = [
        {
            "id": "call_abc",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
        },
        {
            "id": "call_def",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
        },
    ]
    answer = completion(None, "tool_calls", tool_calls=calls)
    found = talk({PATH: answer}, tools=[TOOL], tool_choice="required")
    assert found.body["tools"] == [{"type": "function", "function": TOOL}]
    assert found.body["tool_choice"] == "required"
    assert found.result.finish_reason == "tool_calls"
    made = (
        ToolCall("call_abc", "weather", '{"city": "Bern"}'),
        ToolCall("call_def", "weather", '{"city": "Rome"}'),
    )
    assert found.result.samples[0].tool_calls == made
    assert read_turn(found.result.outputs[0]) == ToolTurn("", made)


def test_an_answer_without_calls_is_a_turn_too_where_there_are_tools() -> None:
    found = talk({PATH: completion("Dry.")}, tools=[TOOL], tool_choice="none")
    assert read_turn(found.result.outputs[0]) == ToolTurn("Dry.")


def test_answers_to_calls_are_sent_with_their_ids() -> None:
    made = ToolTurn("So.", (ToolCall("x", "weather", "{}"), ToolCall("y", "weather", "{}")))
    answers = (Turn("tool"), "dry", Turn("tool"), "wet", Turn("assistant"))
    parts = (*USER, turn_text(made), *answers)
    found = talk({PATH: completion("Both.")}, parts, tools=[TOOL])
    function = {"name": "weather", "arguments": "{}"}
    assert found.body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "So.",
            "tool_calls": [
                {"id": id, "type": "function", "function": function} for id in ("x", "y")
            ],
        },
        {"role": "tool", "content": "dry", "tool_call_id": "x"},
        {"role": "tool", "content": "wet", "tool_call_id": "y"},
    ]
    lonely = talk({PATH: completion("x")}, (*USER, "Hi.", *answers), tools=[TOOL])
    assert "has no call left" in str(lonely.error)
    toolless = talk({PATH: completion("x")}, (*USER, "Hi.", *answers))
    assert "give `tools` to the prefill" in str(toolless.error)


def test_a_named_tool_is_asked_for_as_openai_writes_it() -> None:
    calls = [{"id": "c", "function": {"name": "weather", "arguments": "{}"}}]
    answer = completion(None, "stop", tool_calls=calls)  # what OpenAI ends a forced call with
    found = talk({PATH: answer}, tools=[TOOL], tool_choice="weather")
    assert found.body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert found.result.finish_reason == "tool_calls"


def test_arguments_of_parallel_calls_are_joined_from_their_pieces() -> None:
    def piece(index: int, arguments: str, **first: Any) -> dict[str, Any]:
        name = {"name": first.pop("name")} if "name" in first else {}
        call = {"index": index, **first, "function": {**name, "arguments": arguments}}
        return {"tool_calls": [call]}

    answer = chunks(
        piece(0, "", id="call_0", type="function", name="weather"),
        piece(0, '{"city"'),
        piece(0, ': "Bern"}'),
        piece(1, "", id="call_1", type="function", name="weather"),
        piece(1, '{"city": "Rome"}'),
        finish="tool_calls",
    )
    found = talk({PATH: answer}, tools=[TOOL], streams=True)
    assert found.result.samples[0].tool_calls == (
        ToolCall("call_0", "weather", '{"city": "Bern"}'),
        ToolCall("call_1", "weather", '{"city": "Rome"}'),
    )
    assert "".join(found.pieces) == found.result.outputs[0]
    assert found.pieces[0].endswith('"name": "weather", "arguments": "{\\"city\\": \\"Bern\\"}"}')
    turn = read_turn(found.result.outputs[0])
    assert turn is not None
    assert turn.calls == found.result.samples[0].tool_calls


def test_content_with_tools_streams_as_it_comes() -> None:
    found = talk(
        {PATH: chunks({"content": "I "}, {"content": 'am "here".'})}, tools=[TOOL], streams=True
    )
    assert found.pieces == ['{"content": "I ', 'am \\"here\\".', '", "calls": []}']
    assert found.result.outputs == ("".join(found.pieces),)


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"tools": "weather"}, "tools must be a list"),
        ({"tools": [{"description": "x"}]}, "has no name"),
        ({"tools": [{"name": "w", "strict": True}]}, "and no more"),
        ({"tools": [TOOL], "tool_choice": "search"}, "'search'; there are weather"),
        ({"tool_choice": "required"}, "there are no tools"),
    ],
)
def test_wrong_tools_are_refused(attrs: dict[str, Any], words: str) -> None:
    found = talk({PATH: completion()}, **attrs)
    assert isinstance(found.error, RequestRejected)
    assert words in str(found.error)


def test_a_refusal_is_an_error_of_its_own() -> None:
    found = talk({PATH: completion(None, refusal="I can't help with that.")})
    assert isinstance(found.error, ContentRefused)
    assert "I can't help with that." in str(found.error)


def test_a_streamed_refusal_is_the_same_error() -> None:
    answer = chunks({"refusal": "I can't "}, {"refusal": "help."})
    found = talk({PATH: answer}, streams=True)
    assert isinstance(found.error, ContentRefused)
    assert "I can't help." in str(found.error)


def test_a_content_filter_is_an_error_in_the_answer_and_as_a_status() -> None:
    cut = talk({PATH: completion("Well", "content_filter")})
    assert isinstance(cut.error, ContentRefused)
    body = {"error": {"message": "filtered by content management policy", "code": "content_filter"}}
    refused = talk({PATH: Status(400, body)})
    assert isinstance(refused.error, ContentRefused)


def test_log_probabilities_are_read_with_the_bytes_of_their_tokens() -> None:
    answer = completion("Hé")
    answer["choices"][0]["logprobs"] = {
        "content": [
            {
                "token": "H",
                "logprob": -0.1,
                "bytes": [72],
                "top_logprobs": [
                    {"token": "H", "logprob": -0.1, "bytes": [72]},
                    {"token": "B", "logprob": -2.5, "bytes": [66]},
                ],
            },
            {"token": "\\xc3", "logprob": -0.2, "bytes": [195], "top_logprobs": []},
        ]
    }
    found = talk({PATH: answer}, logprobs=2)
    assert found.body["logprobs"] is True
    assert found.body["top_logprobs"] == 2
    first, second = found.result.samples[0].logprobs
    assert (first.raw, first.logprob, [t.raw for t in first.top]) == (b"H", -0.1, [b"H", b"B"])
    assert (second.raw, second.top) == (b"\xc3", ())


def test_the_chosen_tokens_alone_are_asked_for_without_top_logprobs() -> None:
    found = talk({PATH: completion()}, logprobs=0)
    assert found.body["logprobs"] is True
    assert "top_logprobs" not in found.body


def test_the_limits_name_is_learnt_from_a_refusal_once_for_all() -> None:
    refusal = {
        "error": {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "type": "invalid_request_error",
            "param": "max_tokens",
            "code": "unsupported_parameter",
        }
    }
    found = talk({PATH: [Status(400, refusal), completion()]}, max_tokens=9)
    assert found.result.outputs == ("D. Richard Hipp.",)
    first, second = found.script.posts()
    assert first["max_tokens"] == 9
    assert second["max_completion_tokens"] == 9
    assert "max_tokens" not in second


def test_the_limits_name_can_be_given() -> None:
    found = talk({PATH: completion()}, options={"limit_field": "max_completion_tokens"})
    assert found.body["max_completion_tokens"] == 256
    assert "max_tokens" not in found.body


REFUSED_TEMPERATURE = {
    "error": {
        "message": "Unsupported value: 'temperature' does not support 0.0 with this model. "
        "Only the default (1) value is supported.",
        "param": "temperature",
        "code": "unsupported_value",
    }
}


def test_a_model_that_takes_no_temperature_gets_none_unless_it_was_asked_for() -> None:
    answers = {PATH: [Status(400, REFUSED_TEMPERATURE), completion()]}
    found = talk(answers)
    assert found.result.outputs == ("D. Richard Hipp.",)
    assert "temperature" not in found.body
    asked = talk(answers, temperature=0.5)
    assert isinstance(asked.error, RequestRejected)
    assert len(asked.script.posts()) == 1


def test_an_unknown_finish_and_a_missing_one_are_errors() -> None:
    assert "'abort'" in str(talk({PATH: completion("x", "abort")}).error)
    answer = completion()
    answer["choices"][0]["finish_reason"] = None
    assert "no finish_reason" in str(talk({PATH: answer}).error)


@pytest.mark.parametrize("answer", ["hi", {"choices": [None]}, {"choices": [{"message": "hi"}]}])
def test_an_answer_of_another_form_is_a_typed_error(answer: Any) -> None:
    found = talk({PATH: answer})
    assert type(found.error) is EngineError
    assert "127.0.0.1" in str(found.error)


def test_choices_come_as_an_enum_in_an_object_and_the_output_is_the_choice() -> None:
    found = talk({PATH: completion('{"answer": "yes"}')}, choices=["yes", "no"], max_tokens=4)
    assert found.result.outputs == ("yes",)
    assert found.body["max_tokens"] == 20  # what stands around the choice has tokens too
    schema = found.body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["answer"] == {"type": "string", "enum": ["yes", "no"]}


def test_a_streamed_choice_is_one_piece() -> None:
    answer = chunks({"content": '{"ans'}, {"content": 'wer": "y'}, {"content": 'es"}'})
    found = talk({PATH: answer}, choices=["yes", "no"], streams=True)
    assert found.pieces == ["yes"]


def test_a_list_comes_in_an_object_and_streams_out_of_it() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    answer = chunks({"content": '{"answer": [1'}, {"content": ", 2]"}, {"content": "}"})
    found = talk({PATH: answer}, schema=schema, streams=True)
    assert found.pieces == ["[1", ", 2]"]
    assert found.result.outputs == ("[1, 2]",)


def test_an_answer_that_breaks_its_form_is_a_typed_error() -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    wrong = talk({PATH: completion('{"age": "old"}')}, schema=schema)
    assert isinstance(wrong.error, AnswerInvalid)
    assert "age: 'old' is not of type integer" in str(wrong.error)
    no_json = talk({PATH: completion("Sure! It is 7.")}, schema=schema)
    assert isinstance(no_json.error, AnswerInvalid)
    other = talk({PATH: completion('{"answer": "maybe"}')}, choices=["yes", "no"])
    assert isinstance(other.error, AnswerInvalid)
    no_object = talk({PATH: completion("yes")}, choices=["yes", "no"])
    assert isinstance(no_object.error, AnswerInvalid)


def test_an_answer_that_was_cut_is_not_held_to_its_schema() -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    found = talk({PATH: completion('{"age": 4', "length")}, schema=schema)
    assert found.result.outputs == ('{"age": 4',)
    cut = talk({PATH: completion('{"answer": "ye', "length")}, choices=["yes"])
    assert "raise max_tokens" in str(cut.error)


def test_any_object_is_json_mode() -> None:
    found = talk({PATH: completion("{}")}, schema={"type": "object"})
    assert found.body["response_format"] == {"type": "json_object"}


def test_a_schema_that_strict_mode_lacks_is_sent_as_it_is_and_checked() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    found = talk({PATH: completion('{"a": 1}')}, schema=schema)
    assert found.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": False},
    }
