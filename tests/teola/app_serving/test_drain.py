"""`teola serve` ends at a signal: clients that are attached have their answer, or an error."""

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from app_process import HERE, Process, apps_process

pytestmark = pytest.mark.server
APPS = [f"{HERE}/process_apps.py:{name}" for name in ("ask", "wait")]
WAITING = "teola_num_requests_waiting"
RUN, CHAT = "/v1/apps/wait/runs", "/v1/chat/completions"


def body_of(path: str, seconds: float, streams: bool) -> dict[str, Any]:
    if path == RUN:
        return {"arguments": {"name": "x", "seconds": seconds}, "stream": streams}
    text = "long" if seconds > 5 else "short"
    return {"model": "ask", "messages": [{"role": "user", "content": text}], "stream": streams}


@contextmanager
def attached(server: Process, path: str, seconds: float, streams: bool) -> Iterator[list[Any]]:
    """A client with a run under way; its answer is in the list at the end."""
    answers: list[httpx.Response] = []

    def ask() -> None:
        body = body_of(path, seconds, streams)
        answers.append(httpx.post(server.url + path, json=body, timeout=90))

    others = num_under_way(server)
    client = threading.Thread(target=ask)
    client.start()
    while num_under_way(server) == others and not answers:
        time.sleep(0.01)
    yield answers
    client.join()


def num_under_way(server: Process) -> float:
    return sum(map(server.metric, ("teola_num_requests_running", WAITING)))


def events_of(text: str) -> list[Any]:
    frames = text.removesuffix("\n\n").split("\n\n")
    assert frames[-1] == "data: [DONE]", text
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]


@pytest.mark.parametrize("streams", [False, True])
def test_a_run_that_ends_within_the_drain_is_answered(streams: bool) -> None:
    with apps_process(*APPS, "--drain", "10") as server:
        with attached(server, RUN, 1.0, streams) as answers:
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    text = answers[0].text
    run = events_of(text)[-1] if streams else json.loads(text)
    assert (run["status"], run["result"]) == ("completed", "x waited")


@pytest.mark.parametrize(("drain", "seconds", "how"), [("60", 1.5, "waited"), ("1", 60, "stopped")])
def test_a_background_run_has_the_time_of_the_drain(
    tmp_path: Path, drain: str, seconds: float, how: str
) -> None:
    file = tmp_path / "end"
    body = {"arguments": {"name": str(file), "seconds": seconds}, "background": True}
    with apps_process(*APPS, "--drain", drain) as server:
        assert httpx.post(server.url + RUN, json=body, timeout=60).status_code == 202
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0  # and not 60 s
    assert file.read_text() == how


def test_what_still_runs_after_the_drain_gets_an_error() -> None:
    cases = [(path, streams) for path in (RUN, CHAT) for streams in (False, True)]
    with apps_process(*APPS, "--drain", "1") as server:
        with (
            attached(server, *_case(cases[0])) as run,
            attached(server, *_case(cases[1])) as run_events,
            attached(server, *_case(cases[2])) as chat,
            attached(server, *_case(cases[3])) as chat_events,
        ):
            began_s = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert time.monotonic() - began_s > 0.9
    assert (run[0].status_code, run[0].json()["error"]["code"]) == (503, "run_interrupted")
    assert chat[0].headers["x-should-retry"] == "false"
    assert (chat[0].status_code, chat[0].json()["error"]["code"]) == (503, "run_interrupted")
    last = events_of(run_events[0].text)[-1]
    assert (last["type"], last["error"]["code"]) == ("error", "run_interrupted")
    assert events_of(chat_events[0].text)[-1]["error"]["code"] == "run_interrupted"


def _case(case: tuple[str, bool]) -> tuple[str, float, bool]:
    path, streams = case
    return path, 30.0, streams


def begin_to_drain(server: Process) -> None:
    """A first signal; it was taken once the server listens no more."""
    server.process.send_signal(signal.SIGTERM)
    with suppress(httpx.TransportError):
        while httpx.get(f"{server.url}/health", timeout=60).status_code:
            time.sleep(0.01)
    assert server.process.poll() is None


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(second: signal.Signals) -> None:
    with apps_process(*APPS, "--drain", "60") as server:
        with (
            attached(server, *_case((RUN, False))) as run,
            attached(server, *_case((CHAT, True))) as chat_events,
        ):
            begin_to_drain(server)
            server.process.send_signal(second)
        assert server.process.wait(30) == 0  # and not 60 s
        assert server.process.stderr is not None
        said = server.process.stderr.read()
    assert (run[0].status_code, run[0].json()["error"]["code"]) == (503, "run_interrupted")
    assert events_of(chat_events[0].text)[-1]["error"]["code"] == "run_interrupted"
    assert said == "WARNING:  ended what still ran: 2 answers\n"


def test_a_second_signal_does_not_wait_for_a_background_run() -> None:
    with apps_process(*APPS, "--drain", "60") as server:
        body = {"arguments": {"name": "x", "seconds": 60.0}, "background": True}
        assert httpx.post(server.url + RUN, json=body, timeout=60).status_code == 202
        begin_to_drain(server)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0  # and not 60 s
