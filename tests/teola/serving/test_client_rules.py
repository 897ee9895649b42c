"""What a server lets its clients ask for: their priority, and any name of a model."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.base import Request, Result
from teola.serving.client_rules import ClientRules, PriorityRule

CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
BODIES = {
    CHAT: {"messages": [{"role": "user", "content": "hello"}]},
    COMPLETE: {"prompt": "hello"},
    "/v1/select": {"prompt": "hello", "choices": ["a", "b"]},
    "/v1/encode": {"prompt": [{"type": "chunk", "text": "a b"}]},
}


@pytest.fixture
def priorities(talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Asks for a priority: the answer, and those that the engine was given."""

    def ask(path: str, asked: int | None, **rules: Any) -> tuple[Any, set[int]]:
        server = talk(chunks=True, rules=ClientRules(**rules))
        execute, seen = server.llm.execute, set()

        async def noted(requests: list[Request]) -> Any:
            seen.update(request.priority for request in requests)
            return await execute(requests)

        monkeypatch.setattr(server.llm, "execute", noted)
        return server.post(path, {**BODIES[path], "priority": asked}), seen

    return ask


@pytest.mark.parametrize("path", BODIES)
def test_by_default_a_client_may_lower_its_priority_and_not_raise_it(
    priorities: Callable[..., Any], path: str
) -> None:
    for own in (-3, 0, None):
        answer, seen = priorities(path, own)
        assert (answer.status_code, seen) == (200, {own or 0})
    refused, seen = priorities(path, 1)
    assert (refused.status_code, seen) == (400, set())
    error = refused.json()["error"]
    assert error["param"] == "priority"
    assert "--client-priority" in error["message"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("rule", "asked", "status", "given"),
    [
        ("allow", 7, 200, {7}),
        ("allow", -7, 200, {-7}),
        ("ignore", 7, 200, {0}),
        ("ignore", -7, 200, {0}),
        ("refuse", 7, 400, set()),
        ("refuse", -7, 400, set()),
        ("refuse", 0, 200, {0}),
    ],
)
def test_a_server_may_allow_ignore_or_refuse_priorities(
    priorities: Callable[..., Any], path: str, rule: str, asked: int, status: int, given: set[int]
) -> None:
    answer, seen = priorities(path, asked, priority=PriorityRule(rule))
    assert (answer.status_code, seen) == (status, given)
    is_told = "priority: without effect" in answer.headers.get("x-teola-warning", "")
    assert is_told == (rule == "ignore")


def test_all_that_has_no_effect_is_told(talk: Callable[..., Any]) -> None:
    server = talk(rules=ClientRules(priority=PriorityRule.IGNORE))
    body = {**BODIES[CHAT], "priority": 1, "reasoning_effort": "high"}
    said = server.post(CHAT, body).headers["x-teola-warning"]
    assert "reasoning_effort: without effect" in said
    assert "priority: without effect" in said


def test_any_name_of_a_model_is_served_where_the_server_says_so(talk: Callable[..., Any]) -> None:
    server = talk(rules=ClientRules(any_model=True))
    for path, body in (
        (CHAT, BODIES[CHAT]),
        ("/v1/responses", {"input": "hello"}),
        ("/v1/embeddings", {"input": "hello"}),
        ("/rerank", {"query": "a", "documents": ["b"]}),
    ):
        assert server.post(path, {**body, "model": "gpt-4o"}).status_code == 200
    assert server.post(CHAT, {**BODIES[CHAT], "model": "gpt-4o"}).json()["model"] == "talker"
    refused = talk().post(CHAT, {**BODIES[CHAT], "model": "gpt-4o"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "model")


def test_any_name_does_not_hide_adapters(talk_tiny: Callable[..., Any], tmp_path: Any) -> None:
    server = talk_tiny(rules=ClientRules(any_model=True))
    body = {**BODIES[COMPLETE], "max_tokens": 4, "temperature": 0}
    known = server.ask(COMPLETE, {**body, "model": "tiny"}).json()
    other = server.ask(COMPLETE, {**body, "model": "other"}).json()
    assert other["choices"] == known["choices"]
    assert other["model"] == "tiny"


@pytest.mark.parametrize(
    ("rule", "given"), [("allow", 7), ("lower", 0), ("ignore", 0), ("refuse", 0)]
)
def test_teolas_own_adapter_asks_for_what_the_server_grants(
    with_pair: Callable[..., None], rule: str, given: int
) -> None:
    async def work(pair: Any) -> None:
        execute, seen = pair.local.execute, set()

        async def noted(requests: list[Request]) -> Any:
            seen.update(request.priority for request in requests)
            return await execute(requests)

        pair.local.execute = noted
        for priority in (7, -7):
            id_, attrs = f"r{priority}", {"max_tokens": 2}
            request = Request(id_, "generate", ("ab",), attrs, priority=priority)
            (outcome,) = await pair.remote.execute([request])
            assert isinstance(outcome, Result), outcome
        assert seen == {given, -7 if rule in ("allow", "lower") else 0}

    with_pair(work, rules=ClientRules(priority=PriorityRule(rule)))
