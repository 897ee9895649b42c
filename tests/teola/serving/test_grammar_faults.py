"""Schemas and patterns that cannot be followed are the client's fault: 400, and the field."""

from typing import Any

import pytest

CHAT = "/v1/chat/completions"
OPTIONAL = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}}


def schema_of(schema: dict[str, Any]) -> dict[str, Any]:
    named = {"name": "x", "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("fault", "field"),
    [
        (schema_of({"$ref": "#"}), "response_format"),
        (schema_of(OPTIONAL), "response_format"),
        (schema_of({"type": "string", "pattern": "a{1000000}"}), "response_format"),
        ({"regex": "a{1000000}"}, "regex"),
        ({"regex": r"[^\s\S]"}, "regex"),
        ({"regex": "("}, "regex"),
    ],
)
def test_a_grammar_that_cannot_be_followed_is_a_400_that_names_the_field(
    tiny_server: Any, fault: dict[str, Any], field: str, streams: bool
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20, "stream": streams}
    answer = tiny_server.ask(CHAT, {**body, **fault})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (field, "invalid_value")
