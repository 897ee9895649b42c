"""`echo`, prompts whose markup is parsed, and log-probabilities while a stream comes."""

from collections.abc import Callable
from typing import Any

import pytest

COMPLETE, CHAT = "/v1/completions", "/v1/chat/completions"
TEXT = "The bell rang twice."


def complete(server: Any, **fields: Any) -> Any:
    answer = server.ask(COMPLETE, {"prompt": TEXT, "temperature": 0, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_lm_eval_gets_a_log_probability_for_each_token_of_a_prompt(tiny_server: Any) -> None:
    """What its `local-completions` sends and reads: token ids of context and continuation."""
    ids = tiny_server.ask("/tokenize", {"prompt": TEXT}).json()["tokens"]
    ctxlen = len(ids) - 3
    asked = {"prompt": [ids, ids[:-2]], "max_tokens": 1, "logprobs": 1, "echo": True, "seed": 1}
    made = complete(tiny_server, **asked)
    for choice, num in zip(made["choices"], (len(ids), len(ids) - 2), strict=True):
        found = choice["logprobs"]
        assert {len(values) for values in found.values()} == {num + 1}
        assert found["token_logprobs"][0] is None
        assert found["top_logprobs"][0] is None
        assert all(value <= 0 for value in found["token_logprobs"][ctxlen:-1])
        tops = found["top_logprobs"][1:]
        for value, top in zip(found["token_logprobs"][1:], tops, strict=True):
            assert value <= max(top.values()) + 1e-6
    continuation = made["choices"][0]["logprobs"]["token_logprobs"][ctxlen:-1]
    assert len(continuation) == 3
    body = {"prompt": ids[:ctxlen], "choices": [TEXT[-3:]], "score": "sum"}
    scored = tiny_server.ask("/v1/select", body).json()["scores"]
    assert sum(continuation) == pytest.approx(scored[0], abs=1e-4)


def test_the_prompt_stands_before_each_answer(tiny_server: Any) -> None:
    plain = complete(tiny_server, max_tokens=4)["choices"][0]["text"]
    made = complete(tiny_server, max_tokens=4, echo=True, n=2)
    assert [choice["text"] for choice in made["choices"]] == [TEXT + plain] * 2
    assert [choice["logprobs"] for choice in made["choices"]] == [None, None]
    both = complete(tiny_server, max_tokens=4, echo=True, logprobs=0, n=2)["choices"]
    found = both[1]["logprobs"]
    assert "".join(found["tokens"]).startswith(TEXT)
    assert found["text_offset"][:3] == [0, 1, 2]
    assert TEXT + plain == both[1]["text"]


def test_no_tokens_and_log_probabilities_are_the_prompts_alone(tiny_server: Any) -> None:
    (choice,) = complete(tiny_server, max_tokens=0, echo=True, logprobs=2)["choices"]
    assert choice["text"] == TEXT
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"]["tokens"] == list(TEXT)
    assert {len(top) for top in choice["logprobs"]["top_logprobs"][1:]} <= {1, 2}  # halves alike


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stream": True}, "leave stream out"),
        ({"logprobs": 1, "fusion": "reuse"}, "leave fusion out"),
    ],
)
def test_what_does_not_go_with_echo_is_refused(
    tiny_server: Any, wrong: dict[str, Any], said: str
) -> None:
    answer = tiny_server.ask(COMPLETE, {"prompt": TEXT, "echo": True, **wrong})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_an_engine_without_tokens_echoes_text_alone(talk: Callable[..., Any]) -> None:
    server = talk(replies={"hello": "one two"})
    body = {"prompt": "hello ", "echo": True}
    assert server.post(COMPLETE, body).json()["choices"][0]["text"] == "hello one two"
    refused = server.post(COMPLETE, {**body, "logprobs": 1}).json()["error"]
    assert refused["param"] in ("echo", "logprobs")
    special = server.post(COMPLETE, {"prompt": "x", "parse_special": True})
    assert special.json()["error"]["param"] == "parse_special"


def test_markup_in_a_prompt_is_text_unless_it_is_to_be_parsed(tiny_server: Any) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    turns = tiny_server.ask("/tokenize", {"messages": messages}).json()["tokens"]
    text = tiny_server.ask("/detokenize", {"tokens": turns}).json()["prompt"]
    parsed = tiny_server.ask("/tokenize", {"prompt": text, "parse_special": True}).json()
    assert parsed["tokens"] == turns
    assert tiny_server.ask("/tokenize", {"prompt": text}).json()["count"] > len(turns)

    settings = {"temperature": 0, "max_tokens": 6}
    chat = tiny_server.ask(CHAT, {"messages": messages, **settings}).json()
    made = complete(tiny_server, prompt=text, parse_special=True, echo=True, **settings)
    assert made["choices"][0]["text"] == text + chat["choices"][0]["message"]["content"]
    assert made["usage"]["prompt_tokens"] == len(turns)
    too_long = tiny_server.ask(COMPLETE, {"prompt": "x" * 9999, "parse_special": True})
    assert too_long.json()["error"]["code"] == "context_length_exceeded"


def events_of(server: Any, path: str, body: dict[str, Any]) -> list[Any]:
    import json

    lines = server.ask(path, {**body, "stream": True}).text.split("\n\n")
    return [json.loads(line[6:])["choices"][0] for line in lines if line.startswith("data: {")]


def test_a_streams_log_probabilities_come_with_their_text(tiny_server: Any) -> None:
    settings = {"temperature": 0, "max_tokens": 8, "ignore_eos": True}
    messages = [{"role": "user", "content": "Hi"}]
    body = {"messages": messages, "logprobs": True, "top_logprobs": 2, **settings}
    whole = tiny_server.ask(CHAT, body).json()["choices"][0]["logprobs"]["content"]
    found = events_of(tiny_server, CHAT, body)
    assert sum(bool(choice["logprobs"]) for choice in found) > 3
    told = [
        token for choice in found if choice["logprobs"] for token in choice["logprobs"]["content"]
    ]
    assert told == whole

    body = {"prompt": TEXT, "logprobs": 2, **settings}
    wanted = tiny_server.ask(COMPLETE, body).json()["choices"][0]["logprobs"]
    parts = [c["logprobs"] for c in events_of(tiny_server, COMPLETE, body) if c["logprobs"]]
    assert len(parts) > 3
    for field, values in wanted.items():
        assert [value for part in parts for value in part[field]] == values
