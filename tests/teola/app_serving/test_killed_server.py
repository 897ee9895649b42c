"""A server of apps that is killed, or ends, with runs under way: the next one goes on with them."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from app_process import HERE, Process, apps_process

pytestmark = pytest.mark.server
APPS = [f"{HERE}/kept_apps.py:{name}" for name in ("twice", "slow", "asks")]


def begin(server: Process, app: str, name: str) -> str:
    body = {"arguments": {"name": name}, "background": True}
    answer = httpx.post(f"{server.url}/v1/apps/{app}/runs", json=body, timeout=60)
    assert answer.status_code == 202, answer.text
    run_id: str = answer.json()["id"]
    return run_id


def ended(server: Process, run_id: str) -> Any:
    return until(
        lambda: httpx.get(f"{server.url}/v1/runs/{run_id}", timeout=60).json(),
        lambda run: run["status"] not in ("running", "interrupted"),
    )


def until(look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    end_s = time.monotonic() + 60
    while not is_so(found := look()):
        assert time.monotonic() < end_s, found
        time.sleep(0.02)
    return found


def effects(folder: Path) -> list[str]:
    file = folder / "effects"
    return sorted(file.read_text().splitlines()) if file.exists() else []


def test_runs_of_a_killed_server_go_on_and_no_finished_effect_happens_again(tmp_path: Path) -> None:
    words = (*APPS, "--runs", str(tmp_path / "runs"), "--resume")
    place = {"EFFECTS": str(tmp_path / "effects")}
    with apps_process(*words, **place) as server:
        two, waits, doubtful = (begin(server, app, app) for app in ("twice", "asks", "slow"))
        assert ended(server, waits)["status"] == "waiting"
        until(lambda: effects(tmp_path), lambda found: "begin slow" in found)
        until((tmp_path / "resting").exists, bool)  # what it sent before is on the disk
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(30)
    (tmp_path / "quick").touch()
    with apps_process(*words, **place) as server:
        done = ended(server, two)
        assert (done["status"], done["result"]) == ("completed", ["sent twice 1", "sent twice 2"])
        assert ended(server, waits)["status"] == "waiting"
        failed = ended(server, doubtful)
        assert (failed["status"], failed["error"]["code"]) == ("failed", "effect_in_doubt")
        assert "send at %" in failed["error"]["message"]
        assert str(tmp_path) not in failed["error"]["message"]
        runs = f"{server.url}/v1/runs"
        httpx.post(f"{runs}/{doubtful}/resume", json={"in_doubt": "skip"}).raise_for_status()
        httpx.post(f"{runs}/{waits}/approve", json={"approved": True}).raise_for_status()
        assert ended(server, doubtful)["result"] == [None]
        assert ended(server, waits)["result"] == "sent asks"
    texts = ("asks", "slow", "twice 1", "twice 2")
    assert effects(tmp_path) == sorted(
        [*(f"begin {text}" for text in texts), *(f"end {text}" for text in texts if text != "slow")]
    )


def test_runs_that_a_drain_cuts_off_are_resumed_on_request(tmp_path: Path) -> None:
    words = (*APPS, "--runs", str(tmp_path / "runs"), "--drain", "1")
    place = {"EFFECTS": str(tmp_path / "effects")}
    with apps_process(*words, **place) as server:
        run_id = begin(server, "twice", "x")
        until((tmp_path / "resting").exists, bool)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    (tmp_path / "quick").touch()
    with apps_process(*words, **place) as server:
        path = f"{server.url}/v1/runs/{run_id}"
        assert httpx.get(path).json()["status"] == "interrupted"
        assert [run["id"] for run in httpx.get(f"{server.url}/v1/runs").json()["data"]] == [run_id]
        assert httpx.post(f"{path}/resume", json={}).status_code == 202
        assert ended(server, run_id)["result"] == ["sent x 1", "sent x 2"]
    assert effects(tmp_path) == ["begin x 1", "begin x 2", "end x 1", "end x 2"]
