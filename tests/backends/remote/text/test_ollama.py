"""The bodies and answers of Ollama's API, as its documentation and its Python client have them."""

from typing import Any

import pytest
from scripted_server import USER, Events, Status, talk

from backends.base import Sample, ToolCall, Turn, Usage
from backends.errors import EngineUnavailable, RequestRejected, RequestTooLong
from backends.tool_calls.turn import ToolTurn, read_turn, turn_text

TAGS = {"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest", "size": 2019393189}]}
PROBES = {"/api/version": {"version": "0.13.5"}, "/api/tags": TAGS}
TOOL = {"name": "weather", "description": "Now", "parameters": {"type": "object"}}


def ask(answer: Any, parts: Any = USER, **more: Any) -> Any:
    path = "/api/chat" if parts and not isinstance(parts[0], str) else "/api/generate"
    options = {"model": "llama3.2", **more.pop("options", {})}
    answers = {**PROBES, path: answer}
    return talk(answers, parts, scheme="ollama", options=options, **more)


def chunk(content: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "model": "llama3.2",
        "created_at": "2023-08-04T08:52:19.385406455-07:00",
        "message": {"role": "assistant", "content": content},
        "done": False,
        **fields,
    }


def done(content: str = "", reason: str = "stop", **fields: Any) -> dict[str, Any]:
    return chunk(
        content,
        **{
            "done": True,
            "done_reason": reason,
            "total_duration": 4883583458,
            "load_duration": 1334875,
            "prompt_eval_count": 26,
            "prompt_eval_duration": 342546000,
            "eval_count": 282,
            "eval_duration": 4535599000,
            **fields,
        },
    )


def test_everything_that_a_model_file_could_set_is_sent() -> None:
    found = ask(done("D. Richard Hipp."))
    assert found.body == {
        "model": "llama3.2",
        "messages": [{"role": "user", "content": "Who wrote SQLite?"}],
        "stream": False,
        "options": {
            "temperature": 0.0,
            "top_k": 0,
            "top_p": 1.0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "num_predict": 256,
        },
        "truncate": False,
        "shift": False,
    }
    assert found.result.outputs == ("D. Richard Hipp.",)
    assert found.result.usage == Usage(prefill_tokens=26, decode_tokens=282)


def test_sampling_is_sent_under_ollamas_names() -> None:
    found = ask(
        done("x"),
        options={"context_len": 8192},
        temperature=0.6,
        top_k=20,
        top_p=0.8,
        min_p=0.05,
        seed=3,
        stop=["\n"],
        max_tokens=12,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        repetition_penalty=1.2,
    )
    assert found.body["options"] == {
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.8,
        "min_p": 0.05,
        "seed": 3,
        "stop": ["\n"],
        "num_predict": 12,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "repeat_penalty": 1.2,
        "num_ctx": 8192,
    }


def test_a_stream_is_lines_of_json() -> None:
    answer = Events([chunk("D. "), chunk("Hipp"), done(reason="length")], is_lines=True)
    found = ask(answer, streams=True)
    assert found.body["stream"] is True
    assert found.pieces == ["D. ", "Hipp"]
    assert found.result.outputs == ("D. Hipp",)
    assert found.result.finish_reason == "length"


def test_an_answer_that_the_prompt_begins_goes_on() -> None:
    found = ask(done(" I see"), (*USER, "Thought:"))
    assert found.body["messages"][-1] == {"role": "assistant", "content": "Thought:"}


def test_a_prompt_without_turns_is_taken_raw() -> None:
    answer = {**done(), "response": " time"}
    del answer["message"]
    found = ask(answer, ("Once upon a",))
    assert found.script.seen[-1].path == "/api/generate"
    assert found.body["prompt"] == "Once upon a"
    assert found.body["raw"] is True
    assert found.result.outputs == (" time",)


def test_calls_come_with_their_arguments_as_json() -> None:
    calls = [{"function": {"name": "weather", "arguments": {"city": "Bern"}}}]
    more = [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]
    answer = Events(
        [
            chunk(message={"role": "assistant", "content": "", "tool_calls": calls}),
            chunk(message={"role": "assistant", "content": "", "tool_calls": more}),
            done(),
        ],
        is_lines=True,
    )
    found = ask(answer, tools=[TOOL], streams=True)
    assert found.body["tools"] == [{"type": "function", "function": TOOL}]
    wanted = (
        ToolCall("call_0", "weather", '{"city": "Bern"}'),
        ToolCall("call_1", "weather", '{"city": "Rome"}'),
    )
    assert found.result.samples == (Sample("tool_calls", tool_calls=wanted),)


def test_calls_are_sent_with_values_and_answers_with_the_name_of_the_tool() -> None:
    calls = (ToolCall("x", "weather", '{"city": "Bern"}'), ToolCall("y", "weather", "Bern"))
    made = turn_text(ToolTurn("", calls))
    parts = (*USER, made, Turn("tool"), "dry", Turn("tool"), "none", Turn("assistant"))
    found = ask(done("Dry."), parts, tools=[TOOL])
    arguments = ({"city": "Bern"}, {"arguments": "Bern"})
    functions = ({"name": "weather", "arguments": each} for each in arguments)
    assert found.body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": function} for function in functions],
        },
        {"role": "tool", "content": "dry", "tool_name": "weather"},
        {"role": "tool", "content": "none", "tool_name": "weather"},
    ]
    assert read_turn(found.result.outputs[0]) == ToolTurn("Dry.")


def test_tools_that_are_not_to_be_called_are_not_sent() -> None:
    found = ask(done("x"), tools=[TOOL], tool_choice="none")
    assert "tools" not in found.body


def test_a_schema_is_the_format() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    found = ask(done("[1, 2]"), schema=schema)
    assert found.body["format"] == schema
    assert found.result.outputs == ("[1, 2]",)


def test_choices_are_an_enum_and_come_without_their_quotes() -> None:
    answer = Events([chunk('"ye'), chunk('s"'), done()], is_lines=True)
    found = ask(answer, choices=["yes", "no"], streams=True, max_tokens=4)
    assert found.body["format"] == {"type": "string", "enum": ["yes", "no"]}
    assert found.body["options"]["num_predict"] == 8
    assert found.pieces == ["yes"]
    assert found.result.outputs == ("yes",)


def test_log_probabilities_have_openais_shape() -> None:
    top = [{"token": "D", "logprob": -0.1}, {"token": "R", "logprob": -3.0}]
    answer = done("D", logprobs=[{"token": "D", "logprob": -0.1, "top_logprobs": top}])
    found = ask(answer, logprobs=2)
    assert (found.body["logprobs"], found.body["top_logprobs"]) == (True, 2)
    (token,) = found.result.samples[0].logprobs
    assert (token.raw, [t.raw for t in token.top]) == (b"D", [b"D", b"R"])


def test_samples_are_requests_with_seeds_that_count_up() -> None:
    found = ask(done("x"), n=2, seed=5, temperature=1.0)
    assert sorted(body["options"]["seed"] for body in found.script.posts()) == [5, 6]


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"min_tokens": 1}, "min_tokens is not offered by Ollama"),
        ({"stop_token_ids": [2]}, "stop_token_ids"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"logit_bias": {1: 1}}, "logit_bias"),
        ({"regex": "a"}, "regex"),
        ({"adapter": "a"}, "adapter"),
        ({"cache_salt": "a"}, "cache_salt"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice 'required'"),
    ],
)
def test_what_ollama_lacks_is_refused_by_name(attrs: dict[str, Any], words: str) -> None:
    found = ask(done("x"), **attrs)
    assert isinstance(found.error, RequestRejected)
    assert words in str(found.error)
    assert found.script.posts() == []


def test_a_prompt_that_is_too_long_is_told_as_such() -> None:
    words = {"error": "the input length exceeds the context length"}
    assert isinstance(ask(Status(400, words)).error, RequestTooLong)


def test_an_error_in_a_stream_is_the_outcome() -> None:
    answer = Events([chunk("D."), {"error": "llama runner process has terminated"}], is_lines=True)
    found = ask(answer, streams=True)
    assert found.pieces == ["D."]
    assert "llama runner process" in str(found.error)


def test_a_model_that_is_not_there_says_how_to_fetch_it() -> None:
    with pytest.raises(EngineUnavailable, match="`ollama pull qwen3`"):
        talk(PROBES, scheme="ollama", options={"model": "qwen3"})


def test_without_a_name_the_only_model_is_taken() -> None:
    found = ask(done("x"), options={"model": ""})
    assert found.body["model"] == "llama3.2:latest"
