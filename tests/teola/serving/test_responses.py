"""`/v1/responses` over a scripted engine, by the official client and by our own."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from backends.base import Request, Turn
from backends.registry import EngineSpec, create
from backends.tool_calls.turn import read_turn

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
FIND: Any = {"type": "function", "name": "find", "parameters": SCHEMA, "strict": True}
CALL = 'I look. <tool_call>{"name": "find", "arguments": {"q": "tea"}}</tool_call>'
REPLIES = {r"<\|tool\|>green": "It is green.", "tea": CALL, "count": "one two three"}


@pytest.fixture
def client(talk: Callable[..., Any]) -> Iterator[OpenAI]:
    with (
        talk(replies=REPLIES).listening() as url,
        OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as made,
    ):
        yield made


def test_a_text_is_answered_with_a_message_and_usage(client: OpenAI) -> None:
    made = client.responses.create(model="talker", input="count", instructions="Be brief.")
    assert made.output_text == "one two three"
    assert (made.status, made.store, made.instructions) == ("completed", False, "Be brief.")
    (message,) = made.output
    assert (message.type, message.status) == ("message", "completed")
    assert made.usage is not None
    assert made.usage.output_tokens == 3
    assert made.usage.total_tokens == made.usage.input_tokens + 3
    cut = client.responses.create(model="talker", input="count", max_output_tokens=2)
    assert (cut.status, cut.output_text) == ("incomplete", "one two ")
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"


def test_items_and_parts_become_turns(talk: Callable[..., Any]) -> None:
    server = talk()
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ]
    assert server.post(PATH, {"input": items, "instructions": "Be brief."}).status_code == 200
    ((_, (_, *parts)),) = server.llm.journal[0]
    said = [part.role if isinstance(part, Turn) else part for part in parts]
    assert said == [
        *("system", "Be brief.", "system", "Be kind.", "user", "a", "assistant", "b"),
        *("user", "c", "assistant"),
    ]


def test_a_function_is_called_answered_and_read(client: OpenAI) -> None:
    asked: Any = {"model": "talker", "tools": [FIND]}
    first = client.responses.create(input="tea", **asked)
    assert first.output_text == "I look."
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, call.arguments, call.status) == ("find", '{"q": "tea"}', "completed")
    items: Any = [{"role": "user", "content": "tea"}, *first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "green"})
    assert client.responses.create(input=items, **asked).output_text == "It is green."
    required = client.responses.create(
        input="x", tool_choice={"type": "function", "name": "find"}, **asked
    )
    assert [item.type for item in required.output] == ["function_call"]


def test_a_stream_opens_grows_and_closes_each_item(client: OpenAI) -> None:
    events = list(client.responses.create(model="talker", input="tea", tools=[FIND], stream=True))
    assert [event.sequence_number for event in events] == [*range(len(events))]
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * kinds.count("output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done"),
        *("output_item.done", "completed"),
    ]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "I look."
    assert [item.type for item in last.response.output] == ["message", "function_call"]
    assert last.response.usage is not None
    assert last.response.usage.output_tokens > 0
    with client.responses.stream(model="talker", input="tea", tools=[FIND]) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call"]


class City(BaseModel):
    name: str
    size: int


def test_an_answer_is_parsed_by_its_schema(client: OpenAI) -> None:
    made = client.responses.parse(model="talker", input="x", text_format=City)
    assert isinstance(made.output_parsed, City)
    form: Any = {"format": {"type": "json_object"}}
    said = client.responses.create(model="talker", input="x", text=form)
    assert isinstance(json.loads(said.output_text), dict)


@pytest.mark.parametrize(
    ("wrong", "param", "said"),
    [
        ({"store": True}, "store", "nothing is stored here"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored here"),
        ({"conversation": "conv_1"}, "conversation", "nothing is stored here"),
        ({"background": True}, "background", "nothing is stored here"),
        ({"truncation": "auto"}, "truncation", "not cut"),
        ({"tools": [{"type": "web_search"}]}, "tools.0", "'web_search'"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"input": [{"type": "image_generation_call"}]}, "input.0", "image_generation_call"),
        ({"input": []}, "input", "at least 1"),
        (
            {"input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]},
            "input",
            "there is no call 'a'",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens", "greater"),
    ],
)
def test_what_is_not_offered_is_refused_by_its_name(
    talk: Callable[..., Any], wrong: dict[str, Any], param: str, said: str
) -> None:
    answer = talk().post(PATH, {"input": "x", **wrong})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert said in error["message"]


def test_what_is_stored_by_nobody_may_be_said_so(client: OpenAI) -> None:
    made = client.responses.create(
        model="talker", input="count", store=False, truncation="disabled", metadata={"a": "b"}
    )
    assert made.metadata == {"a": "b"}
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_an_engine_that_fails_midway_ends_the_stream_with_an_error_event(
    talk: Callable[..., Any],
) -> None:
    failed = talk(fail={"decode": "out of luck"}).post(PATH, {"input": "x", "stream": True})
    assert failed.status_code == 500
    assert failed.json()["error"]["message"] == "out of luck"


def test_our_own_adapter_speaks_with_it(talk: Callable[..., Any]) -> None:
    async def main(url: str) -> Any:
        where = f"openai://{url.removeprefix('http://')}/talker"
        engine = create(EngineSpec("llm", where, {"api": "responses"}))
        await engine.start()
        try:
            tool = {"name": "find", "parameters": SCHEMA}
            parts = (Turn("user"), "tea", Turn("assistant"))
            pieces: list[str] = []
            attrs = {"tools": [tool]}
            request = Request("0" * 32, "generate", parts, attrs, emit=pieces.append)
            (outcome,) = await engine.execute([request])
            return outcome, "".join(pieces)
        finally:
            await engine.close()

    with talk(replies=REPLIES).listening() as url:
        outcome, told = asyncio.run(main(url))
    turn = read_turn(outcome.outputs[0])
    assert turn is not None
    assert turn.content == "I look."
    assert [call.arguments for call in turn.calls] == ['{"q": "tea"}']
    assert told == outcome.outputs[0]
