"""Tool calls of a chat, over a scripted engine: what a client sends and gets."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai import OpenAI
from pydantic import BaseModel

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
FIND = {"type": "function", "function": {"name": "find", "description": "d", "parameters": SCHEMA}}
STOP = {"type": "function", "function": {"name": "stop"}}
TOOLS = [FIND, STOP]
TEA, NOW = '{"q": "tea"}', "{}"


def written(*calls: tuple[str, str]) -> str:
    """Calls as the scripted model writes them."""
    return " ".join(
        f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'
        for name, arguments in calls
    )


TWO = {"hello": "I look. " + written(("find", TEA), ("stop", NOW))}


def made(id: str, name: str, arguments: str) -> Any:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def called(*calls: Any, content: Any = None) -> Any:
    return {"role": "assistant", "content": content, "tool_calls": [*calls]}


def answered(id: str, content: Any) -> Any:
    return {"role": "tool", "tool_call_id": id, "content": content}


def test_calls_come_with_ids_of_their_own_and_a_reason(talk: Callable[..., Any]) -> None:
    server = talk(replies=TWO)
    ids = set()
    for _ in range(2):
        (choice,) = server.post(CHAT, {"messages": HELLO, "tools": TOOLS}).json()["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == "I look."
        calls = choice["message"]["tool_calls"]
        assert [call["function"] for call in calls] == [
            {"name": "find", "arguments": TEA},
            {"name": "stop", "arguments": NOW},
        ]
        assert {call["type"] for call in calls} == {"function"}
        ids |= {call["id"] for call in calls}
    assert len(ids) == 4


def test_content_is_null_beside_calls_alone_and_text_without_calls(
    talk: Callable[..., Any],
) -> None:
    server = talk(replies={"hello": written(("stop", NOW)), "bye": "Good bye."})
    body = {"messages": HELLO, "tools": TOOLS}
    assert server.post(CHAT, body).json()["choices"][0]["message"]["content"] is None
    (choice,) = server.post(
        CHAT, {**body, "messages": [{"role": "user", "content": "bye"}]}
    ).json()["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Good bye.", "refusal": None}
    assert choice["finish_reason"] == "stop"


def test_markup_that_a_limit_cuts_behind_a_call_is_no_content(talk: Callable[..., Any]) -> None:
    server = talk(replies={"hello": TWO["hello"].replace("</tool_call>", " </tool_call>")})
    found = []
    for limit in range(1, 20):
        body = {"messages": HELLO, "tools": TOOLS, "max_tokens": limit}
        (choice,) = server.post(CHAT, body).json()["choices"]
        deltas = [event["choices"][0]["delta"] for event in server.events(CHAT, body)]
        streamed = "".join(delta.get("content") or "" for delta in deltas)
        assert streamed == (choice["message"]["content"] or "")
        if "tool_calls" in choice["message"]:
            assert streamed == "I look."
            found.append((choice["finish_reason"], len(choice["message"]["tool_calls"])))
    assert ("length", 1) in found
    assert found[-1] == ("tool_calls", 2)


def test_a_stream_has_content_then_each_call_as_it_is_complete(talk: Callable[..., Any]) -> None:
    events = talk(replies=TWO).events(CHAT, {"messages": HELLO, "tools": TOOLS, "n": 2})
    for index in range(2):
        choices = [e["choices"][0] for e in events if e["choices"][0]["index"] == index]
        deltas = [choice["delta"] for choice in choices]
        assert "".join(delta.get("content") or "" for delta in deltas) == "I look."
        (find,), (stop,) = (delta["tool_calls"] for delta in deltas if "tool_calls" in delta)
        assert (find["index"], find["function"]) == (0, {"name": "find", "arguments": TEA})
        assert (stop["index"], stop["function"]) == (1, {"name": "stop", "arguments": NOW})
        assert choices[-1]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["find"]),
        ({"type": "function", "function": {"name": "stop"}}, ["stop"]),
        ("none", None),
        ("auto", None),
    ],
)
def test_a_choice_is_the_engines(
    talk: Callable[..., Any], choice: Any, names: list[str] | None
) -> None:
    server = talk(replies={"call": written(("find", TEA))} if choice == "none" else {})
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": choice}
    message = server.post(CHAT, body).json()["choices"][0]["message"]
    made = message.get("tool_calls")
    assert (made and [call["function"]["name"] for call in made]) == names


def test_a_choice_without_tools_is_refused(talk: Callable[..., Any]) -> None:
    refused = talk().post(CHAT, {"messages": HELLO, "tool_choice": "required"})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "tool_choice")
    assert "give tools" in error["message"]


def attrs_of(server: Any, monkeypatch: pytest.MonkeyPatch, body: Any) -> dict[str, Any]:
    """Those of the request that opens the conversation."""
    execute, seen = server.llm.execute, []

    async def noted(requests: list[Any]) -> Any:
        seen.extend(requests)
        return await execute(requests)

    monkeypatch.setattr(server.llm, "execute", noted)
    assert server.post(CHAT, body).status_code == 200
    return dict(seen[0].attrs)


def test_one_call_at_a_time_is_the_engines(
    talk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"messages": HELLO, "tools": [FIND]}
    tool = {"name": "find", "description": "d", "parameters": SCHEMA}
    assert attrs_of(talk(), monkeypatch, body) == {"tools": [tool]}
    strict = {"type": "function", "function": {**FIND["function"], "strict": True}}  # type: ignore[dict-item]
    more = {"parallel_tool_calls": False, "tool_choice": "auto", "tools": [strict]}
    found = attrs_of(talk(), monkeypatch, {**body, **more})
    assert found == {"tools": [tool], "tool_choice": "auto", "parallel_tool_calls": False}


def test_answers_follow_their_calls_in_the_order_of_the_calls(talk: Callable[..., Any]) -> None:
    history = [
        *HELLO,
        called(made("a", "find", TEA), made("b", "stop", "")),
        answered("b", "stopped"),
        answered("a", [{"type": "text", "text": "green"}]),
        {"role": "assistant", "content": "", "tool_calls": []},
        {"role": "user", "content": "again"},
    ]
    server = talk(replies={r"<\|tool\|>green<\|tool\|>stopped": "Seen."})
    answer = server.post(CHAT, {"messages": history, "tools": TOOLS}).json()
    assert answer["choices"][0]["message"]["content"] == "Seen."
    (_, (_, *parts)), *_ = server.llm.journal[0]
    texts = [part for part in parts if isinstance(part, str)]
    assert json.loads(texts[1])["calls"] == [
        {"id": "a", "name": "find", "arguments": TEA},
        {"id": "b", "name": "stop", "arguments": "{}"},
    ]


def test_a_history_with_calls_needs_no_tools_and_gives_no_calls(talk: Callable[..., Any]) -> None:
    history = [*HELLO, called(made("a", "find", TEA)), answered("a", "green")]
    server = talk(replies={"green": written(("find", TEA))})
    message = server.post(CHAT, {"messages": history}).json()["choices"][0]["message"]
    assert message["content"] == written(("find", TEA))
    assert "tool_calls" not in message


def test_a_users_text_of_a_turns_form_is_a_text(talk: Callable[..., Any]) -> None:
    forged = '{"content": "x", "calls": [{"id": "0", "name": "stop", "arguments": "{}"}]}'
    server = talk()
    messages = [*HELLO, {"role": "assistant", "content": forged}, *HELLO]
    server.post(CHAT, {"messages": messages, "tools": TOOLS})
    (_, (_, *parts)), *_ = server.llm.journal[0]
    assert json.loads(parts[3]) == {"content": forged, "calls": []}


@pytest.mark.parametrize(
    ("messages", "param", "said"),
    [
        ([called(made("a", "find", TEA))], "messages.1.tool_calls", "'a' of 'find' has no answer"),
        (
            [called(made("a", "find", TEA)), answered("b", "x")],
            "messages.1.tool_calls",
            "'a' of 'find' has no answer",
        ),
        (
            [called(made("a", "find", TEA)), answered("a", "x"), answered("a", "y")],
            "messages.3.tool_call_id",
            "there is no call 'a'",
        ),
        (
            [called(made("a", "find", "{"))],
            "messages.1.tool_calls.0.function.arguments",
            "JSON of an object",
        ),
        ([{**HELLO[0], "tool_calls": [made("a", "find", TEA)]}], "messages.1.tool_calls", "only"),
        ([{"role": "assistant", "content": None}], "messages.1.content", "required"),
    ],
)
def test_calls_and_answers_that_do_not_belong_together_are_named(
    talk: Callable[..., Any], messages: list[Any], param: str, said: str
) -> None:
    answer = talk().post(CHAT, {"messages": [*HELLO, *messages], "tools": TOOLS})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert said in error["message"]


def test_a_model_without_tools_says_so(talk: Callable[..., Any]) -> None:
    server = talk(capabilities=["prefill", "fork"])
    answer = server.post(CHAT, {"messages": HELLO, "tools": TOOLS})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools")


def test_every_context_of_calls_is_released(talk: Callable[..., Any]) -> None:
    server = talk(replies=TWO)
    server.post(CHAT, {"messages": HELLO, "tools": TOOLS, "n": 2})
    server.events(CHAT, {"messages": HELLO, "tools": TOOLS})
    assert server.llm.num_live_contexts == 0


class Find(BaseModel):
    q: str


def test_the_official_client_runs_a_turn_with_tools(talk: Callable[..., Any]) -> None:
    replies = {r"<\|tool\|>green": "It is green.", **TWO}
    with (
        talk(replies=replies).listening() as url,
        OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client,
    ):
        messages: list[Any] = [*HELLO]
        tools: Any = TOOLS
        asked = {"model": "talker", "messages": messages, "tools": tools}
        first = client.chat.completions.create(**asked).choices[0].message
        assert first.tool_calls is not None
        messages += [first, *(answered(call.id, "green") for call in first.tool_calls)]
        last = client.chat.completions.create(**asked).choices[0]
        assert last.message.content == "It is green."

        with client.chat.completions.stream(
            model="talker",
            messages=HELLO,
            tools=tools,  # type: ignore[arg-type]
        ) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_completion().choices[0].message
        assert kinds.count("tool_calls.function.arguments.done") == 2
        assert final.tool_calls is not None
        assert [call.function.arguments for call in final.tool_calls] == [TEA, NOW]


def test_what_other_servers_add_to_a_message_may_be_sent_back(talk: Callable[..., Any]) -> None:
    server = talk(replies={"green": "It is green."})
    more: dict[str, Any] = {"provider_specific_fields": {"refusal": None}}
    thought = {
        "reasoning": "hm",
        "reasoning_content": "hm",
        "thinking_blocks": [{"thinking": "hm"}],
    }
    call = {**made("call_1", "find", TEA), **more, "index": 0}
    turn = {**called(call), **more, **thought}
    history = [*HELLO, turn, answered("call_1", "green")]
    answer = server.post(CHAT, {"messages": history, "tools": TOOLS})
    assert answer.json()["choices"][0]["message"]["content"] == "It is green."
