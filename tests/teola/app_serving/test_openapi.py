"""The OpenAPI document of a service, and requests that are made from it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance import run_schemathesis
from jsonschema import Draft202012Validator

import teola as tl

sys.path.insert(0, str(Path(__file__).parent))

from service_apps import ask, find, history, llm, many, measure, optional, talk

Serve = Callable[..., Any]
RIGHT = {"when": "2026-01-02", "level": "low", "pair": [1, 2], "places": {}, "kinds": ["a"]}


def test_every_operation_answers_as_the_document_says(serve: Serve, tmp_path: Path) -> None:
    with tl.fake(llm, "yes it is"), serve(ask, talk, history, measure, find, many) as client:
        num = run_schemathesis(client.url, tmp_path, "--request-timeout", "10", max_examples=5)
    assert num > 500


def test_each_app_has_a_path_with_its_own_schemas(serve: Serve) -> None:
    with serve(measure, find, optional) as client:
        document = client.http.get("/openapi.json").json()
    paths = document["paths"].items()
    runs = {
        path: about["post"] for path, about in paths if path.endswith("/runs") and "post" in about
    }
    assert [*runs] == [f"/v1/apps/{name}/runs" for name in ("measure", "find", "optional")]
    schemas = document["components"]["schemas"]
    assert schemas["measure.Run"]["required"] == ["arguments"]
    assert "required" not in schemas["optional.Run"]
    arguments = schemas["measure.Run"]["properties"]["arguments"]
    assert arguments["required"] == ["place", "tags"]
    place = arguments["properties"]["place"]["$ref"].rpartition("/")[2]
    assert schemas[place]["properties"]["size"]["minimum"] == 1
    whole = runs["/v1/apps/find/runs"]["responses"]["200"]["content"]["application/json"]["schema"]
    place = whole["properties"]["result"]["properties"]["place"]["$ref"]
    assert schemas[place.rpartition("/")[2]]["properties"]["name"]["type"] == "string"


def test_the_document_says_what_an_app_is_for(serve: Serve) -> None:
    with serve(ask, find) as client:
        paths = client.http.get("/openapi.json").json()["paths"]
    assert paths["/v1/apps/ask/runs"]["post"]["summary"] == "Answers a question."
    assert paths["/v1/apps/find/runs"]["post"]["summary"] == "Runs find."


def test_a_result_holds_to_its_schema_where_a_number_is_none(serve: Serve) -> None:
    with serve(find) as client:
        document = client.http.get("/openapi.json").json()
        run = client.run("find", arguments={"name": "Rome"}).json()
    answers = document["paths"]["/v1/apps/find/runs"]["post"]["responses"]
    schema = answers["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(run)
    assert run["result"]["ratio"] is None


@pytest.fixture(scope="module")
def given(serve: Serve) -> Iterator[Any]:
    with serve(many) as client:
        yield client


def test_arguments_of_many_types_reach_the_app(given: Any) -> None:
    result = given.run("many", arguments=RIGHT).json()["result"]
    assert result == {"when": "2026-01-02", "level": "low", "pair": [1, 2.0], "kinds": 1}


@pytest.mark.parametrize(
    ("argument", "value"), [("limit", "3"), ("limit", 3.5), ("flag", 1), ("pair", ["1", 2.0])]
)
def test_arguments_are_of_jsons_own_types(given: Any, argument: str, value: Any) -> None:
    refused = given.run("many", arguments={**RIGHT, argument: value})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"].startswith(f"arguments.{argument}")
