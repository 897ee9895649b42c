"""What exceptions of apps, tools and libraries say is for the server's log, not for clients."""

import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, field_serializer

import teola as tl
from teola.app_serving.told import told
from teola.errors import ListenerFailed, McpError, NodeFailed, TraceError

Serve = Callable[..., AbstractContextManager[Any]]
SECRET = "sk-12345"
llm = tl.LLM("fake:")


@tl.tool(retries=1)
def connect(host: str) -> str:
    raise OSError(f"no way to {host} with {SECRET}")


@tl.app
def by_tool(question: str) -> str:
    return connect(question)


@tl.app
async def in_python(question: str) -> str:
    raise RuntimeError(f"cannot use {SECRET}")


def _checked(text: str) -> str:
    raise KeyError(SECRET)


@tl.app
async def by_validator(question: Annotated[str, AfterValidator(_checked)]) -> str:
    return question


class Unwritten(BaseModel):
    text: str = ""

    @field_serializer("text")
    def _write(self, text: str) -> str:
        raise ValueError(SECRET)


@tl.app
async def no_json(question: str) -> Any:
    return Unwritten()


APPS = (by_tool, in_python)


def answers_of(client: Any, app: str) -> list[str]:
    """In all ways to ask."""
    whole = client.run(app, arguments={"question": "a"})
    texts = [whole.text, json.dumps(client.events(app, question="a"))]
    texts += [client.chat(app, "a").text, client.chat(app, "a", stream=True).text]
    if "id" in whole.json():
        texts.append(client.http.get(f"/v1/runs/{whole.json()['id']}").text)
    return texts


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_no_answer_has_the_text_of_an_exception(
    serve: Serve, caplog: pytest.LogCaptureFixture, app: Any
) -> None:
    kind = {"by_tool": "OSError", "in_python": "RuntimeError"}[app.name]
    with serve(app) as client:
        answers = answers_of(client, app.name)
    assert len(answers) == 5
    for answer in answers:
        assert SECRET not in answer
        assert kind in answer
        assert "see run run_" in answer
    logged = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(logged) == 4  # runs
    assert all(SECRET in line for line in logged)


def test_the_text_of_a_validators_exception_is_in_the_log_only(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(by_validator) as client:
        answer = client.run("by_validator", arguments={"question": "a"})
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "by_validator cannot check 'question': KeyError"
    assert SECRET in caplog.text


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.name)
def test_clients_are_told_all_if_the_server_shall(serve: Serve, app: Any) -> None:
    with serve(app, by_validator, shows_errors=True) as client:
        for answer in answers_of(client, app.name):
            assert SECRET in answer
        assert SECRET in client.run("by_validator", arguments={"question": "a"}).text


def test_a_result_that_is_no_json_is_told(serve: Serve) -> None:
    with serve(no_json) as client:
        message = client.run("no_json", arguments={"question": "a"}).json()["error"]["message"]
    assert message == "no_json: the app's result cannot be written as JSON"


@pytest.mark.parametrize(
    "error",
    [
        TraceError("problem", __file__, 17),  # shows the app's line, with what is written there
        ListenerFailed(f"a listener failed: {SECRET}"),
        McpError(SECRET),
        NodeFailed("x", "app.py:1", NodeFailed("y", "app.py:2", ValueError(SECRET))),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_teola_that_quote_others_are_told_without(error: Exception) -> None:
    assert SECRET in str(error)
    assert SECRET not in told(error, with_text=False)
    assert told(error, with_text=True) == str(error)


def test_errors_of_teola_are_told() -> None:
    failed = NodeFailed("x", "app.py:1", tl.errors.EngineError("the engine has no page left"))
    assert told(failed, with_text=False) == str(failed)
