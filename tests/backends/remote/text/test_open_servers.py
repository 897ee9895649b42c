"""Chat and plain completions of vLLM 0.32, SGLang 0.5.23 and teola's server: their own fields."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from scripted_server import USER, Hang, Script, Status, engine_at, talk

from backends.base import Request, Sample, Usage
from backends.errors import EngineError, EngineUnavailable
from backends.tool_calls.format import with_spacing

LOW_FIRST = "schedule_low_priority_values_first"
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
MODELS = {"/v1/models": {"object": "list", "data": [{"id": "m", "max_model_len": 8192}]}}
NEUTRAL = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
SCHEMA = {"type": "array", "items": {"type": "integer"}}


def completion(text: str, **choice: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": said, "text": text, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None},
    }


def ask(scheme: str, answer: Any, parts: Any = USER, **attrs: Any) -> Any:
    return talk({**MODELS, CHAT: answer, TEXT: answer}, parts, scheme=scheme, **attrs)


def test_vllm_gets_the_settings_that_its_generation_config_would_fill_in() -> None:
    found = ask("vllm", completion("Hipp", stop_reason=None))
    request_id = found.body.pop("request_id")
    assert len(request_id) == 32
    assert found.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Who wrote SQLite?"}],
        "max_tokens": 256,
        "temperature": 0.0,
        **NEUTRAL,
    }
    assert found.result.usage == Usage(prefill_tokens=9, decode_tokens=2)


ALL: dict[str, Any] = {
    "temperature": 0.5,
    "top_k": 4,
    "min_p": 0.1,
    "min_tokens": 2,
    "stop_token_ids": [7],
    "ignore_eos": True,
    "repetition_penalty": 1.3,
    "seed": 1,
}


@pytest.mark.parametrize("scheme", ["vllm", "sglang", "teola"])
def test_open_servers_take_what_openai_lacks(scheme: str) -> None:
    body = ask(scheme, completion("x"), **ALL).body
    assert {name: body[name] for name in ALL} == ALL


def test_a_begun_answer_goes_on_in_each_servers_words() -> None:
    parts = (*USER, "Thought:")
    vllm = ask("vllm", completion(" I"), parts).body
    assert vllm["messages"][-1] == {"role": "assistant", "content": "Thought:"}
    assert (vllm["continue_final_message"], vllm["add_generation_prompt"]) == (True, False)
    for scheme in ("sglang", "teola"):
        body = ask(scheme, completion(" I"), parts).body
        assert body["continue_final_message"] is True
        assert "add_generation_prompt" not in body


def test_a_prompt_without_turns_goes_to_plain_completions() -> None:
    for scheme in ("vllm", "sglang", "teola"):
        found = ask(scheme, completion(" time"), ("Once upon a",))
        assert found.script.seen[-1].path == TEXT
        assert found.body["prompt"] == "Once upon a"
        assert found.result.outputs == (" time",)


def test_priorities_have_each_servers_sign() -> None:
    assert ask("vllm", completion("x"), priority=3).body["priority"] == -3
    assert "priority" not in ask("sglang", completion("x"), priority=3).body
    assert ask("teola", completion("x"), priority=3).body["priority"] == 3
    assert "priority" not in ask("vllm", completion("x")).body
    assert "priority" not in ask("openai", completion("x"), priority=3).body


@pytest.mark.parametrize(("settings", "sent"), [({}, 3), ({LOW_FIRST: True}, -3)])
def test_sglang_says_how_it_was_started_and_its_priorities_have_that_sign(
    settings: dict[str, bool], sent: int
) -> None:
    info = {"enable_priority_scheduling": True, **settings}
    answers = {**MODELS, "/server_info": info, CHAT: completion("x")}
    assert talk(answers, USER, scheme="sglang", priority=3).body["priority"] == sent


def test_a_vllm_without_priorities_gets_none_from_then_on() -> None:
    words = "Got priority -3 but Priority scheduling is not enabled."
    refusal = Status(400, {"error": {"message": words, "type": "BadRequestError", "code": 400}})
    found = talk({**MODELS, CHAT: [refusal, completion("x")]}, USER, scheme="vllm", priority=3)
    assert found.result.outputs == ("x",)
    assert "priority" not in found.body


def test_adapters_and_salts_have_each_servers_field() -> None:
    vllm = ask("vllm", completion("x"), adapter="sql", cache_salt="t1").body
    assert (vllm["model"], vllm["cache_salt"]) == ("sql", "t1")
    sglang = ask("sglang", completion("x"), adapter="sql", cache_salt="t1").body
    assert (sglang["model"], sglang["lora_path"], sglang["cache_salt"]) == ("m", "sql", "t1")
    teola = ask("teola", completion("x"), adapter="sql", cache_salt="t1").body
    assert (teola["model"], teola["cache_salt"]) == ("sql", "t1")


@pytest.mark.parametrize(
    ("scheme", "attrs", "answer", "fields"),
    [
        ("vllm", {"schema": SCHEMA}, "[1]", {"structured_outputs": {"json": with_spacing(SCHEMA)}}),
        ("vllm", {"regex": "[ab]+"}, "ab", {"structured_outputs": {"regex": "[ab]+"}}),
        ("vllm", {"choices": ["a", "b"]}, "b", {"structured_outputs": {"choice": ["a", "b"]}}),
        (
            "sglang",
            {"schema": SCHEMA},
            "[1]",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA},
                }
            },
        ),
        ("sglang", {"regex": "[ab]+"}, "ab", {"regex": "[ab]+"}),
        ("sglang", {"choices": ["a+", "b."]}, "b.", {"regex": r"(a\+)|(b\.)"}),
        (
            "teola",
            {"schema": SCHEMA},
            "[1]",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA},
                }
            },
        ),
        ("teola", {"regex": "[ab]+"}, "ab", {"regex": "[ab]+"}),
        ("teola", {"choices": ["a", "b"]}, "a", {"choices": ["a", "b"]}),
    ],
)
def test_structured_output_is_asked_for_in_each_servers_words(
    scheme: str, attrs: dict[str, Any], answer: str, fields: dict[str, Any]
) -> None:
    found = ask(scheme, completion(answer), **attrs)
    assert {name: found.body[name] for name in fields} == fields
    assert found.result.outputs == (answer,)


def test_sglangs_completions_take_a_schema_as_text() -> None:
    found = ask("sglang", completion("[1]"), ("Numbers: ",), schema=SCHEMA)
    assert found.body["json_schema"] == '{"type": "array", "items": {"type": "integer"}}'


def test_the_stop_that_ended_an_answer_is_told_if_it_was_asked_for() -> None:
    vllm = ask("vllm", completion("x", stop_reason="\n"), stop=["\n"])
    assert vllm.result.samples == (Sample("stop", stop="\n"),)
    sglang = ask("sglang", completion("x", matched_stop=7), stop_token_ids=[7])
    assert sglang.result.samples == (Sample("stop", stop=7),)
    end_of_turn = ask("sglang", completion("x", matched_stop=2))
    assert end_of_turn.result.samples == (Sample("stop"),)


def test_teolas_server_takes_speculation_and_tools_one_call_or_many() -> None:
    assert ask("teola", completion("x"), speculate=False).body["speculate"] is False
    body = ask("teola", completion("x"), tools=[{"name": "w"}], parallel_tool_calls=False).body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["w"]
    assert body["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in ask("teola", completion("x"), tools=[{"name": "w"}]).body


def test_seeded_samples_are_one_request_where_the_server_counts_the_seeds_up() -> None:
    answer = completion("a")
    answer["choices"] = [{**answer["choices"][0], "index": index} for index in range(2)]
    for scheme in ("vllm", "teola"):
        found = ask(scheme, answer, n=2, seed=4, temperature=1.0)
        assert [(body["n"], body["seed"]) for body in found.script.posts()] == [(2, 4)]
    split = ask("sglang", completion("a"), n=2, seed=4, temperature=1.0)
    assert sorted(body["seed"] for body in split.script.posts()) == [4, 5]
    assert len({body["rid"] for body in split.script.posts()}) == 2


def test_a_model_that_the_server_lacks_names_what_it_has() -> None:
    with pytest.raises(EngineUnavailable, match="no model 'other'; it has m"):
        talk(MODELS, scheme="vllm", options={"model": "other"})


def test_a_wrong_key_names_its_variable() -> None:
    refusal = Status(401, {"error": "Unauthorized"})
    with pytest.raises(EngineUnavailable, match="VLLM_API_KEY"):
        talk({"/v1/models": refusal}, scheme="vllm")


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_rented_api_need_not_show_its_models_to_every_key(status: int) -> None:
    hidden = {"/v1/models": Status(status, {"error": {"message": "missing scope"}})}
    assert talk({**hidden, CHAT: completion("x")}).result.outputs == ("x",)
    with pytest.raises(EngineError, match="name one" if status == 404 else "missing scope"):
        talk({**hidden, CHAT: completion("x")}, options={"model": ""}, scheme="openai")


def test_a_rented_api_that_knows_no_such_key_is_an_error_at_the_start() -> None:
    with pytest.raises(EngineUnavailable, match="OPENAI_API_KEY"):
        talk({"/v1/models": Status(401, {"error": "Unauthorized"}), CHAT: completion("x")})


def test_a_server_of_another_kind_is_told_by_its_name() -> None:
    listed = {"/v1/models": {"data": [{"id": "m", "owned_by": "sglang"}]}}
    with pytest.raises(EngineUnavailable, match=r"a SGLang server, not vLLM: write sglang://"):
        talk(listed, scheme="vllm")
    assert talk({**listed, CHAT: completion("x")}, scheme="sglang").result.outputs == ("x",)


def test_a_server_without_a_list_of_models_needs_a_name() -> None:
    assert talk({CHAT: completion("x")}).result.outputs == ("x",)
    with pytest.raises(EngineUnavailable, match="name one"):
        talk({CHAT: completion("x")}, options={"model": ""})


def test_sglang_is_told_of_a_request_that_was_given_up_after_a_silence() -> None:
    answers = {**MODELS, CHAT: Hang(), "/abort_request": {}}
    found = talk(answers, scheme="sglang", options={"read_timeout_s": 1.0})
    assert isinstance(found.error, EngineUnavailable)
    sent, aborted = found.script.posts()
    assert aborted == {"rid": sent["rid"]}


def test_sglang_is_told_to_abort_and_by_the_requests_own_id() -> None:
    async def main() -> None:
        script = Script({**MODELS, CHAT: Hang(), "/abort_request": {}})
        async with engine_at(script, "sglang") as engine:
            request = Request(uuid4().hex, "generate", USER)
            running = asyncio.create_task(engine.execute([request]))
            await script.arrived.wait()
            engine.abort(request.id)
            (outcome,) = await running
            assert type(outcome) is EngineError
            await script.gone.wait()
        assert script.seen[-1].path == "/abort_request"
        assert script.seen[-1].body == {"rid": request.id}

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize(
    ("rule", "asked", "sent"),
    [
        ("allow", 3, 3),
        ("lower", 3, None),
        ("lower", -3, -3),
        ("ignore", 3, None),
        ("refuse", -3, None),
    ],
)
def test_teola_is_asked_for_the_priorities_that_it_takes(
    rule: str, asked: int, sent: int | None
) -> None:
    models = {"/v1/models": {"data": [{"id": "m", "client_priority": rule}]}}
    found = talk({**models, CHAT: completion("x")}, USER, scheme="teola", priority=asked)
    assert found.body.get("priority") == sent
