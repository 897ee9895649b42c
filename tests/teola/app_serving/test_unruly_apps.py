"""Apps that do what no app should: they harm their own run alone."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import teola as tl
from teola import plans

sys.path.insert(0, str(Path(__file__).parent))

from service_apps import ask, llm, say, wait

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


tracing, release = threading.Event(), threading.Event()


@tl.app
def trace_long(question: str, seconds: float) -> str:
    tracing.set()
    release.wait(seconds)
    return say(question)


@tl.app
def unroll(question: str, n: int) -> str:
    for _ in range(n):
        answer = say(question)
    return answer


def test_an_app_that_is_traced_for_long_delays_no_other(serve: Serve) -> None:
    tracing.clear()
    release.clear()
    with tl.fake(llm, "fine"), serve(trace_long, ask) as client:
        body = {"question": "?", "seconds": 60.5}
        run = client.run("trace_long", arguments=body, background=True).json()
        assert tracing.wait(30)
        assert client.run("ask", arguments={"question": "?"}).json()["result"] == "fine"
        path = f"/v1/runs/{run['id']}"
        assert client.http.get(path).json()["status"] == "running"
        release.set()
        ended = client.until(path, lambda body: body["status"] != "running")
    assert ended["result"] == "fine"


def test_a_run_is_cancelled_while_its_app_is_traced_and_keeps_its_place(serve: Serve) -> None:
    tracing.clear()
    release.clear()
    with tl.fake(llm, "fine"), serve(trace_long, ask, max_runs=1) as client:
        body = {"question": "?", "seconds": 60.25}
        run = client.run("trace_long", arguments=body, background=True).json()
        assert tracing.wait(30)
        cancelled = client.http.post(f"/v1/runs/{run['id']}/cancel").json()
        assert cancelled["status"] == "cancelled"
        assert client.run("ask", arguments={"question": "?"}).status_code == 429
        release.set()
        client.until("/v1/runs", lambda _: client.service._admission.num_admitted == 0)
        assert client.run("ask", arguments={"question": "?"}).json()["result"] == "fine"


def test_tracing_is_a_part_of_the_time_of_a_run(serve: Serve) -> None:
    release.clear()
    with tl.fake(llm, "fine"), serve(trace_long, timeout_s=0.3) as client:
        answer = client.run("trace_long", arguments={"question": "?", "seconds": 60.125})
        release.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "run_timeout")
    assert answer.json()["seconds"] < 30
    assert "within 0.3 s" in answer.json()["error"]["message"]


def test_a_loop_that_is_unrolled_without_end_is_an_error_of_its_run(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with tl.fake(llm, "fine"), serve(unroll, ask) as client:
        body = {"arguments": {"question": "?", "n": 10**9}, "background": True}
        run = client.run("unroll", **body).json()
        assert client.run("ask", arguments={"question": "?"}).json()["result"] == "fine"
        ended = client.until(f"/v1/runs/{run['id']}", lambda b: b["status"] != "running", 60)
    assert ended["error"]["code"] == "app_failed"
    assert "TraceError" in ended["error"]["message"]
    (record,) = [r for r in caplog.records if r.name == "teola.apps"]
    assert "primitives here: a loop of Python's is unrolled" in record.getMessage()


def test_an_app_is_planned_where_it_is_traced(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noted(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return make(*args)

    make = plans._make
    monkeypatch.setattr(plans, "_make", noted)
    with tl.fake(llm, "fine"), serve(unroll) as client:
        for n in (2, 3):
            answer = client.run("unroll", arguments={"question": "?", "n": n})
            assert answer.json()["result"] == "fine"
    assert threads == ["teola-trace"] * 2


class Odd:
    pass


@tl.app
async def give(how: str) -> Any:
    return {"odd": {"here": [Odd()]}, "bytes": b"\xff"}[how]


@pytest.mark.parametrize(("how", "why"), [("odd", f": it holds a {__name__}.Odd; "), ("bytes", "")])
def test_a_result_that_is_no_json_is_an_error_that_names_its_type(
    serve: Serve, how: str, why: str
) -> None:
    with serve(give) as client:
        answer = client.run("give", arguments={"how": how})
        last = client.events("give", how=how)[-1]
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "app_failed")
    assert error["message"].startswith(f"give: the app's result cannot be written as JSON{why}")
    assert (last["type"], last["error"]) == ("error", error)
