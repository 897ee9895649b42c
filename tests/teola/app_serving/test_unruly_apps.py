"""Apps that do what no app should: they harm their own run alone."""

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import teola as tl

sys.path.insert(0, str(Path(__file__).parent))

from service_apps import ask, llm, wait

Serve = Callable[..., Any]
ENDS = {
    "exit": SystemExit(3),
    "said": SystemExit("a secret"),
    "interrupt": KeyboardInterrupt("stop"),
    "close": GeneratorExit(),
}


@tl.app
async def end(how: str) -> str:
    raise ENDS[how]


@tl.app
def end_traced(how: Literal["exit", "said", "interrupt", "close"]) -> str:
    raise ENDS[how]


@tl.app
async def end_in_task(how: str) -> str:
    async def work() -> None:
        raise ENDS[how]

    await asyncio.create_task(work())
    return "never"


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("app", [end, end_in_task, end_traced])
def test_an_app_that_ends_the_program_ends_its_own_run(
    serve: Serve, caplog: pytest.LogCaptureFixture, app: Any, how: str
) -> None:
    with tl.fake(llm, "fine"), serve(app, ask, wait) as client:
        other = client.run(
            "wait", arguments={"name": f"beside {how}", "seconds": 0.5}, background=True
        )
        failed = client.run(app.name, arguments={"how": how})
        assert (failed.status_code, failed.json()["error"]["code"]) == (500, "app_failed")
        assert "a secret" not in failed.text
        assert client.run("ask", arguments={"question": "?"}).json()["result"] == "fine"
        path = f"/v1/runs/{other.json()['id']}"
        ended = client.until(path, lambda body: body["status"] != "running")
        assert ended["status"] == "completed"
        assert client.http.get("/health").status_code == 200
    (record,) = [r for r in caplog.records if r.name == "teola.apps"]
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)


def test_the_exit_code_of_an_app_is_told(serve: Serve) -> None:
    with serve(end) as client:
        error = client.run("end", arguments={"how": "exit"}).json()["error"]
    assert error["message"] == "end: the app tried to end the program (exit code 3)"


def test_a_service_whose_runs_cannot_go_on_says_so(serve: Serve) -> None:
    with tl.fake(llm, "fine"), serve(ask) as client:
        client.run("ask", arguments={"question": "?"})
        loop = client.service._loop
        loop._loop.call_soon_threadsafe(loop._loop.stop)
        loop._thread.join(10)
        loop._loop.close()
        assert client.http.get("/health").status_code == 503
        assert client.run("ask", arguments={"question": "?"}).status_code == 503
