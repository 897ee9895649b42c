"""The bodies and answers of plain completions, as OpenAI's API reference has them."""

from typing import Any

import pytest
from scripted_server import Events, talk

from backends.base import Usage
from backends.errors import RequestRejected

PATH = "/v1/completions"
PLAIN = {"api": "completions"}
PROMPT = ("SQLite was ", "written by")


def completion(text: str = " D. Richard Hipp.", **choice: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-uqkvlQyYK7bGYrRHQ0eXlWi7",
        "object": "text_completion",
        "created": 1589478378,
        "model": "gpt-3.5-turbo-instruct",
        "choices": [
            {"text": text, "index": 0, "logprobs": None, "finish_reason": "length", **choice}
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }


def test_the_prompt_is_sent_as_one_text() -> None:
    found = talk({PATH: completion()}, PROMPT, options=PLAIN, max_tokens=7, temperature=0.2)
    assert found.body == {
        "model": "m",
        "prompt": "SQLite was written by",
        "max_tokens": 7,
        "temperature": 0.2,
    }
    assert found.result.outputs == (" D. Richard Hipp.",)
    assert found.result.finish_reason == "length"
    assert found.result.usage == Usage(prefill_tokens=5, decode_tokens=7)


def test_a_stream_emits_its_pieces() -> None:
    events = [
        completion(" D.", finish_reason=None),
        completion(" Hipp", finish_reason=None),
        completion("", finish_reason="stop"),
    ]
    found = talk({PATH: Events(events)}, PROMPT, options=PLAIN, streams=True)
    assert found.pieces == [" D.", " Hipp"]
    assert found.result.outputs == (" D. Hipp",)
    assert found.result.finish_reason == "stop"


def test_log_probabilities_are_lists_side_by_side() -> None:
    logprobs = {
        "tokens": [" D", "."],
        "token_logprobs": [-0.5, -0.1],
        "top_logprobs": [{" A": -1.5, " D": -0.5}, {".": -0.1}],
        "text_offset": [0, 2],
    }
    found = talk({PATH: completion(logprobs=logprobs)}, PROMPT, options=PLAIN, logprobs=2)
    assert found.body["logprobs"] == 2
    first, second = found.result.samples[0].logprobs
    assert (first.raw, first.logprob) == (b" D", -0.5)
    assert [token.raw for token in first.top] == [b" D", b" A"]
    assert second.logprob == -0.1


@pytest.mark.parametrize(
    ("parts", "attrs", "words"),
    [
        (None, {}, "without turns"),
        (PROMPT, {"tools": [{"name": "w"}]}, "tools is not offered"),
        (PROMPT, {"schema": {"type": "object"}}, "schema is not offered"),
        (PROMPT, {"choices": ["a"]}, "choices is not offered"),
    ],
)
def test_what_completions_cannot_do_is_refused(
    parts: Any, attrs: dict[str, Any], words: str
) -> None:
    prompt = {} if parts is None else {"parts": parts}
    found = talk({PATH: completion()}, **prompt, options=PLAIN, **attrs)
    assert isinstance(found.error, RequestRejected)
    assert words in str(found.error)
    assert found.script.posts() == []
