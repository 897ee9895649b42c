"""What clients of other servers say: aliases, fields without effect, the version, the OpenAPI
document."""

import gzip
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


NEUTRAL = {
    "skip_special_tokens": True,
    "include_stop_str_in_output": False,
    "length_penalty": 1.0,
    "detokenize": True,
    "bad_words": [],
    "documents": [],
    "return_token_ids": False,
    "use_beam_search": False,
    "cache_prompt": True,
    "truncate_prompt_tokens": None,
}


def test_what_other_servers_do_by_default_may_be_written(talk: Callable[..., Any]) -> None:
    server = talk()
    chat = {"messages": HELLO, **NEUTRAL, "add_special_tokens": False, "top_logprobs": 0}
    complete = {"prompt": "hello", **NEUTRAL, "add_special_tokens": True}
    for path, body in ((CHAT, chat), (COMPLETE, complete)):
        answer = server.post(path, body)
        assert answer.status_code == 200, answer.text
        assert "x-teola-warning" not in answer.headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("skip_special_tokens", False),
        ("include_stop_str_in_output", True),
        ("length_penalty", 2.0),
        ("detokenize", False),
        ("bad_words", ["no"]),
        ("documents", [{"text": "a"}]),
        ("add_special_tokens", True),
        ("truncate_prompt_tokens", 5),
        ("guided_whitespace_pattern", " ?"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(
    talk: Callable[..., Any], name: str, value: Any
) -> None:
    refused = talk().post(CHAT, {"messages": HELLO, name: value})
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, name)
    assert error["code"] == "unsupported_parameter"


def test_what_changes_nothing_is_taken_with_a_warning(talk: Callable[..., Any]) -> None:
    server = talk()
    for fields in ({"guided_decoding_backend": "xgrammar"}, {"cache_prompt": False}):
        answer = server.post(CHAT, {"messages": HELLO, **fields})
        assert answer.status_code == 200
        assert answer.headers["x-teola-warning"].startswith(f"{next(iter(fields))}: without effect")
    asked = server.post("/v1/embeddings", {"input": "a", "request_id": "mine"})
    assert asked.headers["x-teola-warning"].startswith("request_id: without effect")


def test_the_id_of_a_request_is_in_that_of_its_answer(talk: Callable[..., Any]) -> None:
    server = talk()
    body = {"messages": HELLO, "request_id": "mine"}
    answer = server.post(CHAT, body)
    assert answer.json()["id"] == "chatcmpl-mine"
    assert "x-teola-warning" not in answer.headers
    assert {event["id"] for event in server.events(CHAT, body)} == {"chatcmpl-mine"}


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_a_compressed_body_is_refused_by_its_encoding(
    talk: Callable[..., Any], encoding: str
) -> None:
    body = gzip.compress(json.dumps({"messages": HELLO}).encode())
    refused = talk().post(CHAT, body, **{"content-encoding": encoding})
    assert (refused.status_code, refused.json()["error"]["code"]) == (415, "unsupported_encoding")
    assert repr(encoding) in refused.json()["error"]["message"]
    assert refused.headers["accept-encoding"] == "identity"
    plain = {"messages": HELLO}
    assert talk().post(CHAT, plain, **{"content-encoding": "identity"}).status_code == 200


def test_an_address_that_ends_in_a_slash_finds_the_paths(talk: Callable[..., Any]) -> None:
    server = talk(api_key="secret")
    models = "http://server//v1/models"
    assert server.get("http://server//health").status_code == 200
    assert server.get(models).status_code == 401
    assert server.get(models, authorization="Bearer secret").json()["object"] == "list"


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
    chat = ["200", "400", "401", "403", "404", "408", "413", "415", "429", "500", "503"]
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


@pytest.mark.usefixtures("no_collection")
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
