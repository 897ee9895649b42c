"""`fusion`: the KV of a prompt's chunks is reused wherever they stand."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from held_steps import HeldSteps

from backends.base import Request
from backends.errors import EngineUnavailable
from backends.fake.llm import FakeLLM
from backends.fusion_profile import FusionProfile, PlanQuality, save
from teola.fusion_check.served_profile import fetch
from teola.serving.client_rules import ClientRules

CHAT, COMPLETE, SELECT = "/v1/chat/completions", "/v1/completions", "/v1/select"
PASSAGES = ("The sea is deep and cold here. ", "A bell rang twice; nobody came. ", "Odd. ")


def chunk(text: str) -> dict[str, str]:
    return {"type": "chunk", "text": text}


def text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def pieces(*passages: str) -> list[dict[str, str]]:
    return [text("Answer from "), text("these. "), *map(chunk, passages), text("What rang?")]


def chat(passages: tuple[str, ...] = PASSAGES, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": pieces(*passages)}]
    return {"messages": messages, "max_tokens": 8, "temperature": 0, "ignore_eos": True, **more}


def answer_of(response: Any) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


@pytest.fixture
def fresh(talk_tiny: Callable[..., Any]) -> Any:
    return talk_tiny()


def test_a_chat_says_what_fusion_saved(fresh: Any) -> None:
    first = fresh.ask(CHAT, chat(fusion="lego(4)")).json()["usage"]
    again = fresh.ask(CHAT, chat(PASSAGES[::-1], fusion="lego(4)")).json()["usage"]

    report = again["fusion"]
    assert (first["fusion"]["num_encoded"], report["num_encoded"]) == (3, 0)
    assert (report["plan"], report["num_chunks"]) == ("lego(4)", 3)
    assert report["num_tokens"] == again["prompt_tokens"]
    in_chunks = sum(map(len, PASSAGES))  # a token a byte
    fused = again["prompt_tokens_details"]["fused_tokens"]
    assert 0.5 * in_chunks < fused <= in_chunks - 3 * 4
    assert len(report["rows"]) == 2
    assert all(0 < rows <= again["prompt_tokens"] - fused for rows in report["rows"])
    cached = again["prompt_tokens_details"]["cached_tokens"]
    assert 0.5 * in_chunks < cached <= again["prompt_tokens"]


def test_chunks_computed_again_as_a_whole_give_the_exact_answer(fresh: Any) -> None:
    fused = fresh.ask(CHAT, chat(fusion="lego(999)"))
    assert answer_of(fused) == answer_of(fresh.ask(CHAT, chat()))


def test_without_fusion_a_chunk_is_its_text(fresh: Any) -> None:
    marked = fresh.ask(CHAT, chat())
    plain = {"role": "user", "content": "Answer from these. " + "".join(PASSAGES) + "What rang?"}
    unmarked = fresh.ask(CHAT, {**chat(), "messages": [plain]})
    assert answer_of(marked) == answer_of(unmarked)
    assert marked.json()["usage"]["prompt_tokens"] == unmarked.json()["usage"]["prompt_tokens"]
    assert "fusion" not in marked.json()["usage"]
    assert "fused_tokens" not in marked.json()["usage"]["prompt_tokens_details"]


def test_several_answers_go_on_from_one_fused_prompt(fresh: Any) -> None:
    alone = answer_of(fresh.ask(CHAT, chat(fusion="reuse")))
    both = fresh.ask(CHAT, chat(fusion="reuse", n=2)).json()
    assert [choice["message"]["content"] for choice in both["choices"]] == [alone, alone]
    assert both["usage"]["fusion"]["num_chunks"] == 3


def test_a_fused_answer_streams_stops_and_keeps_to_its_form(fresh: Any) -> None:
    whole = answer_of(fresh.ask(CHAT, chat(fusion="reuse", max_tokens=24)))

    options = {"stream": True, "stream_options": {"include_usage": True}}
    lines = fresh.ask(CHAT, chat(fusion="reuse", max_tokens=24, **options)).text.split("\n\n")[:-2]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == whole
    assert events[-1]["usage"]["fusion"]["plan"] == "reuse"

    stop = whole[3:5]
    stopped = answer_of(fresh.ask(CHAT, chat(fusion="reuse", max_tokens=24, stop=stop)))
    assert stopped == whole.partition(stop)[0]

    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    shaped = answer_of(fresh.ask(CHAT, chat(fusion="reuse", max_tokens=24, response_format=form)))
    assert json.loads(shaped)["n"] in (1, 2)

    choices = ["the bell", "the sea"]
    assert answer_of(fresh.ask(CHAT, chat(fusion="reuse", choices=choices))) in choices


def test_a_completion_takes_its_prompt_in_pieces(fresh: Any) -> None:
    tokens = fresh.ask("/tokenize", {"prompt": pieces(*PASSAGES)}).json()["tokens"]
    in_ids = [{"type": "tokens", "tokens": tokens[:19]}, *pieces(*PASSAGES)[2:]]
    body = {"max_tokens": 8, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    fused = [
        fresh.ask(COMPLETE, {**body, "prompt": prompt, "fusion": "reuse"}).json()
        for prompt in (pieces(*PASSAGES), [pieces(*PASSAGES)], in_ids)
    ]
    ids = [answer["choices"][0]["token_ids"] for answer in fused]
    assert ids[0] == ids[1] == ids[2]
    assert fused[2]["usage"]["prompt_tokens"] == len(tokens)

    exact = fresh.ask(COMPLETE, {**body, "prompt": pieces(*PASSAGES)}).json()
    plain = fresh.ask(COMPLETE, {**body, "prompt": tokens}).json()
    assert exact["choices"] == plain["choices"]


def test_usage_is_summed_over_the_prompts_of_a_request(fresh: Any) -> None:
    prompts = [pieces(*PASSAGES), pieces(*PASSAGES[:2])]
    usage = fresh.ask(COMPLETE, {"prompt": prompts, "fusion": "reuse"}).json()["usage"]
    assert usage["fusion"]["num_chunks"] == 5
    assert usage["fusion"]["num_tokens"] == usage["prompt_tokens"]
    assert len(usage["fusion"]["rows"]) == 2


def test_no_tokens_encode_chunks_ahead(fresh: Any) -> None:
    body = {"prompt": pieces(*PASSAGES), "fusion": "reuse"}
    ahead = fresh.ask(COMPLETE, {**body, "max_tokens": 0}).json()["usage"]["fusion"]
    body["prompt"] = pieces(*PASSAGES[::-1])
    later = fresh.ask(COMPLETE, {**body, "max_tokens": 1}).json()["usage"]["fusion"]
    assert (ahead["num_encoded"], later["num_encoded"]) == (3, 0)


def test_chunks_are_encoded_before_a_prompt_asks(fresh: Any) -> None:
    body = {"prompt": [*pieces(), *map(chunk, PASSAGES)]}
    body["prompt"] = body["prompt"][:2] + body["prompt"][3:]
    answers = [fresh.ask("/v1/encode", body).json() for _ in range(2)]
    assert [answer["num_encoded"] for answer in answers] == [3, 0]
    assert answers[1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    later = fresh.ask(COMPLETE, {"prompt": pieces(*PASSAGES[::-1]), "fusion": "reuse"}).json()
    assert later["usage"]["fusion"]["num_encoded"] == 0
    assert "teola_encoded_chunks_total 3.0" in fresh.ask("/metrics").text.splitlines()


def test_chunks_of_a_plan_with_alone_are_encoded_behind_nothing(fresh: Any) -> None:
    plan, passages = "lego(4)+alone", list(map(chunk, PASSAGES))
    for head, num_new in (("One head. ", 3), ("And another. ", 0)):
        body = {"prompt": [{"type": "text", "text": head}, *passages], "fusion": plan}
        assert fresh.ask("/v1/encode", body).json()["num_encoded"] == num_new
    later = fresh.ask(COMPLETE, {"prompt": pieces(*PASSAGES), "fusion": plan}).json()
    assert later["usage"]["fusion"]["num_encoded"] == 0


def test_an_encode_with_an_unknown_plan_is_a_400(tiny_server: Any) -> None:
    response = tiny_server.ask("/v1/encode", {"prompt": pieces(*PASSAGES), "fusion": "magic"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "fusion")


@pytest.mark.parametrize("prompt", ["text", [1, 2], [], [{"type": "chunk"}]])
def test_a_wrong_encode_names_its_field(tiny_server: Any, prompt: Any) -> None:
    response = tiny_server.ask("/v1/encode", {"prompt": prompt})
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith("prompt")


def test_select_scores_after_a_fused_prompt(fresh: Any) -> None:
    body = {"prompt": pieces(*PASSAGES), "choices": ["the bell", "the sea"], "score": "sum"}
    fused = fresh.ask(SELECT, {**body, "fusion": "reuse"}).json()
    whole = fresh.ask(SELECT, {**body, "fusion": "lego(999)"}).json()
    exact = fresh.ask(SELECT, body).json()
    assert whole["scores"] == pytest.approx(exact["scores"], abs=1e-4)
    assert fused["usage"]["prompt_tokens_details"]["fused_tokens"] > 0
    assert fused["scores"] != exact["scores"]


def test_metrics_count_fused_tokens_and_encoded_chunks(fresh: Any) -> None:
    details = [
        fresh.ask(CHAT, chat(fusion="reuse")).json()["usage"]["prompt_tokens_details"]
        for _ in range(2)
    ]
    fused = sum(detail["fused_tokens"] for detail in details)
    metrics = fresh.ask("/metrics").text.splitlines()
    assert f"teola_fused_tokens_total {float(fused)}" in metrics
    assert "teola_encoded_chunks_total 3.0" in metrics


@pytest.mark.parametrize(("path", "body"), [(CHAT, chat()), (COMPLETE, {"prompt": pieces("a")})])
@pytest.mark.parametrize("plan", ["fastest", "lego", "lego(x)"])
def test_an_unknown_plan_names_the_field(
    tiny_server: Any, path: str, body: dict[str, Any], plan: str
) -> None:
    response = tiny_server.ask(path, {**body, "fusion": plan})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "fusion")
    assert repr(plan) in error["message"]


@pytest.mark.parametrize("wrong", ["", 3, ["reuse"]])
def test_a_plan_that_is_no_text_names_the_field(tiny_server: Any, wrong: Any) -> None:
    response = tiny_server.ask(CHAT, chat(fusion=wrong))
    assert (response.status_code, response.json()["error"]["param"]) == (400, "fusion")


def test_the_request_of_the_docs_is_answered(fresh: Any) -> None:
    page = (Path(__file__).parents[3] / "docs/server.md").read_text()
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    body = json.loads(next(block for block in blocks if '"fusion"' in block))
    usage = fresh.ask(CHAT, body).json()["usage"]
    assert usage["fusion"]["num_chunks"] == 2
    assert usage["fusion"]["plan"] == body["fusion"]


def test_an_engine_without_fusion_refuses_it_and_takes_chunks(talk: Callable[..., Any]) -> None:
    server = talk()
    refused = server.post(CHAT, {"messages": chat()["messages"], "fusion": "reuse"})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "fusion")
    assert error["message"] == "talker does not offer fusion"
    refused = server.post("/v1/encode", {"prompt": pieces("a")})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "prompt")
    assert error["message"] == "talker does not offer KV cache fusion"
    assert server.post(CHAT, {"messages": chat()["messages"]}).status_code == 200


def test_a_server_may_keep_to_exact_answers(talk_tiny: Callable[..., Any]) -> None:
    server = talk_tiny(rules=ClientRules(is_exact=True))
    refused = server.ask(CHAT, chat(fusion="reuse"))
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "fusion")
    assert "exact answers only" in error["message"]
    (card,) = server.ask("/v1/models").json()["data"]
    assert "fusion" not in card["capabilities"]
    assert server.ask(CHAT, chat()).status_code == 200


@pytest.fixture
def checked(fresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server whose model has a profile."""
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    plans = {"reuse": PlanQuality(r=0, cost=0.1), "lego(16)": PlanQuality(r=0.3, cost=0.4)}
    save(FusionProfile(model=fresh.engine.info.model, plans=plans, floor=0.2))
    return fresh


def test_a_plan_below_the_models_floor_is_a_400(checked: Any) -> None:
    refused = checked.ask(CHAT, chat(fusion="reuse"))
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "fusion")
    assert "the floor is 0.2; name a better plan (lego(16))" in error["message"]
    assert checked.ask(CHAT, chat(fusion="lego(16)")).status_code == 200


def test_a_server_shows_what_the_check_of_its_model_found(checked: Any) -> None:
    fetched = checked.run(fetch("teola://server:80", httpx.ASGITransport(checked.app)))
    assert fetched.model == "teola://server:80"
    assert (fetched.floor, fetched.plans["lego(16)"].r) == (0.2, 0.3)


def test_a_server_without_a_profile_says_how_to_make_one(
    tiny_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="has no fusion profile of tiny: run `teola fusion"):
        tiny_server.run(fetch("teola://server:80/tiny", httpx.ASGITransport(tiny_server.app)))


def test_priority_and_adapter_reach_the_prefill_and_the_plan_it_alone(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = FakeLLM("fake:talker", {"chunks": True})
    seen: list[Request] = []
    answer = llm.answer

    async def noted(request: Request) -> Any:
        seen.append(request)
        return await answer(request)

    monkeypatch.setattr(llm, "answer", noted)
    body = {"messages": chat()["messages"], "fusion": "lego(4)", "priority": 7, "cache_salt": "a"}
    assert talk(llm=llm).post(CHAT, body).status_code == 200
    prefill, decode = seen
    assert (prefill.op, prefill.priority, decode.priority) == ("prefill", 7, 7)
    assert prefill.attrs == {"fusion": "lego(4)", "cache_salt": "a"}
    assert "fusion" not in decode.attrs
    assert [type(part).__name__ for part in prefill.inputs[2:-1]] == ["str", *["Chunk"] * 3, "str"]


def test_a_client_that_leaves_ends_its_fused_prefill(talk_tiny: Callable[..., Any]) -> None:
    server = talk_tiny(token_budget=4)
    sent: list[Any] = []

    async def main() -> None:
        core = server.engine._core
        left = asyncio.Event()
        asked = chat(fusion="reuse")
        asked["messages"].insert(0, {"role": "system", "content": "Be brief. " * 25})
        messages = [{"type": "http.request", "body": json.dumps(asked).encode()}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        head = {"type": "http", "method": "POST", "path": CHAT, "headers": [], "query_string": b""}
        steps = HeldSteps(server.engine, after=4)
        asking = asyncio.create_task(server.app(head, receive, send))
        await steps.begun()
        left.set()
        await steps.aborted()
        steps.go_on()
        await asking
        await until(lambda: not core.has_work)
        assert core.num_steps < 60  # its first part alone has 250 tokens
        server.engine.flush_cache()
        await until(lambda: core.cache.pool.num_free == core.cache.pool.num_pages)
        core.check_integrity()

    server.run(main())
    assert sent[0]["status"] == 499


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_true():
            await asyncio.sleep(0.001)
