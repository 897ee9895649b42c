"""What clients that keep token ids need of the server: its fields, and `/v1/select`."""

from collections.abc import Callable
from typing import Any

import pytest

PROMPT = [10, 20, 30, 40] * 10


def test_a_choice_has_its_token_ids_and_why_it_stopped(tiny_server: Any) -> None:
    body = {"prompt": PROMPT, "max_tokens": 5, "temperature": 0, "ignore_eos": True}
    plain = tiny_server.ask("/v1/completions", body).json()["choices"][0]
    assert "token_ids" not in plain
    body |= {"return_token_ids": True, "request_id": "abc"}
    answer = tiny_server.ask("/v1/completions", body).json()
    ids = answer["choices"][0]["token_ids"]
    assert answer["id"] == "cmpl-abc"
    assert (len(ids), answer["choices"][0]["stop_reason"]) == (5, None)
    text = tiny_server.ask("/detokenize", {"tokens": ids}).json()["prompt"]
    assert text == plain["text"]
    stopped = tiny_server.ask("/v1/completions", {**body, "stop_token_ids": [ids[3]]}).json()
    choice = stopped["choices"][0]
    assert choice["stop_reason"] == ids[3]
    assert choice["token_ids"] == ids[: ids.index(ids[3])]


def test_a_stream_ends_with_the_token_ids(tiny_server: Any) -> None:
    body = {"prompt": PROMPT, "max_tokens": 5, "temperature": 0, "return_token_ids": True}
    whole = tiny_server.ask("/v1/completions", body).json()["choices"][0]
    lines = tiny_server.ask("/v1/completions", {**body, "stream": True}).text.split("\n\n")
    assert [("token_ids" in line) for line in lines[:-2]].index(True) == len(lines) - 3
    assert f'"token_ids":{whole["token_ids"]}'.replace(" ", "") in lines[-3]


def test_logprobs_may_name_tokens_by_their_ids(tiny_server: Any) -> None:
    body = {
        "prompt": PROMPT,
        "max_tokens": 3,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": 2,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    choice = tiny_server.ask("/v1/completions", body).json()["choices"][0]
    names = [f"token_id:{token}" for token in choice["token_ids"]]
    assert choice["logprobs"]["tokens"] == names
    assert all(
        name in top for name, top in zip(names, choice["logprobs"]["top_logprobs"], strict=True)
    )


@pytest.mark.parametrize("n", [1, 2])
def test_no_tokens_computes_the_prompt_and_nothing_else(tiny_server: Any, n: int) -> None:
    prompt = [50 + n, 60, 70] * 20
    body = {"prompt": prompt, "max_tokens": 0, "return_token_ids": True, "n": n}
    answer = tiny_server.ask("/v1/completions", body).json()
    assert [(c["text"], c["token_ids"], c["finish_reason"]) for c in answer["choices"]] == [
        ("", [], "length")
    ] * n
    assert answer["usage"]["completion_tokens"] == 0
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    again = tiny_server.ask("/v1/completions", {"prompt": prompt, "max_tokens": 1}).json()
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == 48


def test_a_model_says_what_its_engine_can(tiny_server: Any) -> None:
    (card,) = tiny_server.ask("/v1/models").json()["data"]
    assert {"prefill", "select", "token_ids"} <= set(card["capabilities"])


@pytest.mark.parametrize("prompt", [PROMPT, "A prompt."])
def test_select_answers_the_likeliest_choice_with_all_scores(tiny_server: Any, prompt: Any) -> None:
    body = {"prompt": prompt, "choices": ["yes", "no, never"]}
    mean = tiny_server.ask("/v1/select", body).json()
    total = tiny_server.ask("/v1/select", {**body, "score": "sum"}).json()
    assert mean["object"] == "select"
    assert mean["scores"] == pytest.approx([total["scores"][0] / 3, total["scores"][1] / 9])
    assert mean["choice"] == body["choices"][mean["index"]]
    assert mean["scores"][mean["index"]] == max(mean["scores"])
    assert mean["usage"]["prompt_tokens"] == (40 if prompt is PROMPT else 9)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"choices": []}, "choices"),
        ({"choices": [""]}, "choices.0"),
        ({"prompt": []}, "prompt.list[constrained-int]"),
        ({"score": "max"}, "score"),
        ({"model": "other"}, "model"),
    ],
)
def test_a_wrong_select_names_its_field(
    tiny_server: Any, change: dict[str, Any], param: str
) -> None:
    body = {"prompt": PROMPT, "choices": ["a"], **change}
    answer = tiny_server.ask("/v1/select", body)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"].startswith(param.partition(".")[0])


def test_an_engine_without_token_ids_or_select_says_so(talk: Callable[..., Any]) -> None:
    server = talk(capabilities={"prefill", "fork", "stream", "abort"})
    answer = server.post("/v1/completions", {"prompt": "a", "return_token_ids": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "return_token_ids"
    answer = server.post("/v1/select", {"prompt": "a", "choices": ["b"]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "choices")
    assert server.llm.num_live_contexts == 0


def test_a_chat_has_token_ids_too_whole_and_at_the_end_of_a_stream(tiny_server: Any) -> None:
    chat, said = "/v1/chat/completions", [{"role": "user", "content": "hello"}]
    body = {"messages": said, "max_tokens": 5, "temperature": 0, "ignore_eos": True}
    plain = tiny_server.ask(chat, body).json()["choices"][0]
    assert "token_ids" not in plain
    choice = tiny_server.ask(chat, {**body, "return_token_ids": True}).json()["choices"][0]
    text = tiny_server.ask("/detokenize", {"tokens": choice["token_ids"]}).json()["prompt"]
    assert (text, choice["stop_reason"]) == (plain["message"]["content"], None)
    streamed = tiny_server.ask(chat, {**body, "return_token_ids": True, "stream": True}).text
    told = [line for line in streamed.split("\n\n") if "token_ids" in line]
    assert len(told) == 1
    assert f'"token_ids":{choice["token_ids"]}'.replace(" ", "") in told[0].replace(" ", "")
