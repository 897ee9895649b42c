"""What clients of other servers say: aliases, fields without effect, the version, the OpenAPI
document."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

import teola as tl
from teola.serving.decode_fields import DecodeFields
from teola.serving.openapi import Answer, Operation, document

CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("theirs", "attrs"),
    [
        ({"guided_json": SCHEMA}, {"schema": json.dumps(SCHEMA)}),
        ({"guided_json": json.dumps(SCHEMA)}, {"schema": json.dumps(SCHEMA)}),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a", "b"]}, {"choices": ["a", "b"]}),
        ({"structured_outputs": {"json": SCHEMA}}, {"schema": json.dumps(SCHEMA)}),
        ({"structured_outputs": {"json_object": True}}, {"schema": json.dumps(SCHEMA)}),
        ({"structured_outputs": {"regex": "a+"}}, {"regex": "a+"}),
        ({"structured_outputs": {"choice": ["a"]}}, {"choices": ["a"]}),
        ({"structured_outputs": {}}, {}),
    ],
)
def test_vllms_names_of_forms_are_ours(
    talk: Callable[..., Any], theirs: dict[str, Any], attrs: dict[str, Any]
) -> None:
    found = DecodeFields.model_validate(theirs).structure
    assert found == attrs
    assert talk().post(CHAT, {"messages": HELLO, **theirs}).status_code == 200


def test_a_field_without_effect_is_passed_over_with_a_warning(talk: Callable[..., Any]) -> None:
    server = talk(replies={"hello": "one"})
    fields = {"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": False}}
    for path, body in ((CHAT, {"messages": HELLO}), (COMPLETE, {"prompt": "hello"})):
        for streams in (False, True):
            answer = server.post(path, {**body, **fields, "stream": streams})
            assert answer.status_code == 200
            said = answer.headers["x-teola-warning"]
            assert said.startswith("reasoning_effort, chat_template_kwargs: without effect")
    plain = {"messages": HELLO, "reasoning_effort": "none", "chat_template_kwargs": {}}
    assert "x-teola-warning" not in server.post(CHAT, plain).headers


@pytest.mark.parametrize("path", ["/rerank", "/v2/rerank"])
def test_reranking_has_other_names(talk: Callable[..., Any], path: str) -> None:
    body = {"query": "a cat", "documents": ["a dog", "a cat"]}
    server = talk()
    theirs, ours = (server.post(where, body).json()["results"] for where in (path, "/v1/rerank"))
    assert theirs == ours


def test_the_version_is_told(talk: Callable[..., Any]) -> None:
    assert talk().get("/version").json() == {"version": tl.__version__}


def test_the_document_names_every_route_and_describes_what_is_taken(
    talk: Callable[..., Any],
) -> None:
    server = talk()
    found = server.get("/openapi.json").json()
    assert found["openapi"] == "3.1.0"
    paths = {route.path.replace(":path", "") for route in server.app.routes}
    assert found["paths"].keys() == paths
    assert all(next(iter(path.values()))["summary"] for path in found["paths"].values())
    assert found["paths"]["/v1/models/{name}"]["get"]["parameters"][0]["name"] == "name"
    takes = found["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator({**takes, "components": found["components"]})
    tool = {"type": "function", "function": {"name": "find"}}
    validator.validate({"messages": HELLO, "stop": "x", "tools": [tool]})
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    validator.validate({"messages": parts})
    assert not validator.is_valid({"messages": "hello"})
    assert not validator.is_valid({"messages": HELLO, "n": 0})
    validator.validate({"messages": HELLO, "n": None, "user": "a", "best_of": 1})
    assert not validator.is_valid({"messages": HELLO, "best_of": 2})
    assert not validator.is_valid({"messages": HELLO, "unknown": 1})


def test_the_document_names_the_statuses_of_each_route(talk: Callable[..., Any]) -> None:
    paths = talk().get("/openapi.json").json()["paths"]
    chat = ["200", "400", "401", "403", "404", "408", "413", "429", "500", "503"]
    assert [*paths[CHAT]["post"]["responses"]] == chat
    assert [*paths["/v1/models"]["get"]["responses"]] == ["200", "401", "403", "500", "503"]
    assert [*paths["/health"]["get"]["responses"]] == ["200", "500", "503"]


def test_an_operation_may_have_path_parameters_and_schemas_of_its_own() -> None:
    async def begin(_: Any) -> Any:
        """Begins a thing."""

    answers = (Answer({"$ref": "#/components/schemas/Thing"}, 202),)
    takes = {"type": "object"}
    thing = {"type": "string"}
    made = document(
        [
            Operation("/things/{id}", begin, takes, answers, (404,)),
            Operation("/things/{id}/stop", begin, answers=answers, method="POST"),
        ],
        schemas={"Thing": thing},
    )
    assert made["components"]["schemas"]["Thing"] == thing
    operation = made["paths"]["/things/{id}"]["post"]
    assert operation["summary"] == "Begins a thing."
    assert operation["requestBody"]["content"]["application/json"]["schema"] == takes
    assert "202" in operation["responses"]
    assert "404" in operation["responses"]
    assert "requestBody" not in made["paths"]["/things/{id}/stop"]["post"]


def test_the_document_and_the_version_want_the_key(talk: Callable[..., Any]) -> None:
    server = talk(api_key="secret")
    for path in ("/openapi.json", "/version"):
        assert server.get(path).status_code == 401
        assert server.get(path, authorization="Bearer secret").status_code == 200


@pytest.mark.parametrize("field", ["guided_json", "structured_outputs"])
@pytest.mark.parametrize("text", ["", "[]", "{", "1", "[" * 100_000])
def test_a_schema_as_text_must_be_the_json_of_an_object(
    talk: Callable[..., Any], field: str, text: str
) -> None:
    value = text if field == "guided_json" else {"json": text}
    answer = talk().post(CHAT, {"messages": HELLO, field: value})
    assert answer.status_code == 400
    where = field if field == "guided_json" else "structured_outputs.json"
    assert answer.json()["error"]["param"] == where


def test_an_event_of_a_stream_is_described(talk: Callable[..., Any]) -> None:
    server = talk(replies={"hello": "one two"})
    found = server.get("/openapi.json").json()
    content = found["paths"][CHAT]["post"]["responses"]["200"]["content"]
    event = content["text/event-stream"]["schema"]
    schema = event["properties"]["data"]["anyOf"][0]["contentSchema"]
    validator = jsonschema.Draft202012Validator({**schema, "components": found["components"]})
    options = {"stream_options": {"include_usage": True}}
    for chunk in server.events(CHAT, {"messages": HELLO, **options}):
        validator.validate(chunk)
    assert not validator.is_valid({"object": "chat.completion.chunk"})
