"""`teola engine` in processes of their own: what it prints, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stand_in_server import StandIn

from backends.processes.process_group import is_alive
from teola.launching import records

BIN = Path(sys.executable).parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def teola(*words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [BIN / "teola", "engine", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


@contextmanager
def started(stand_in: StandIn, model: Path) -> Iterator[subprocess.Popen[str]]:
    """`teola engine start` in the foreground, once it has printed the URL."""
    words = ["start", "vllm", "--model", str(model), "--python", str(stand_in.python), "--port=0"]
    with subprocess.Popen(
        [BIN / "teola", "engine", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("vllm://127.0.0.1:")
        yield process


def wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + 60
    while is_alive(group):
        assert time.monotonic() < deadline, "the server outlived teola"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_server_and_the_command_ends_well(
    stand_in: StandIn, model: Path, number: signal.Signals
) -> None:
    with started(stand_in, model) as process:
        (record,) = records.running()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert f"{record.name} is ready" in err
        assert f"stopping {record.name}" in err
    assert not is_alive(record.pid)
    assert not list(records.folder().glob("*.json"))


@pytest.mark.parametrize("mode", ["ready", "parent"])
def test_no_server_outlives_a_teola_that_was_killed(
    stand_in: StandIn, model: Path, mode: str
) -> None:
    stand_in.behave(mode)
    with started(stand_in, model) as process:
        (record,) = records.running()
        process.kill()
        process.communicate(timeout=30)
    wait_until_gone(record.pid)


def test_a_server_that_dies_ends_the_command_with_its_log(stand_in: StandIn, model: Path) -> None:
    with started(stand_in, model) as process:
        (record,) = records.running()
        os.killpg(record.pid, signal.SIGKILL)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "has ended with exit code" in err
    assert "  | listening" in err


def test_a_detached_server_is_listed_logged_and_stopped(stand_in: StandIn, model: Path) -> None:
    words = ["--model", model, "--python", stand_in.python, "--port", "0", "--detach"]
    done = teola("start", "vllm", *words, "--", "--max-model-len", "64")
    assert done.returncode == 0, done.stderr
    (record,) = records.running()
    assert done.stdout == f"{record.url}\n"
    assert f"stop it with: teola engine stop {record.name}" in done.stderr
    assert stand_in.command_lines[0].endswith(" --max-model-len 64")

    (row,) = json.loads(teola("list", "--json").stdout)
    assert (row["name"], row["is_ready"], row["model"]) == (record.name, True, str(model))
    assert " ready " in teola("list").stdout
    assert teola("logs").stdout.endswith("listening\n")

    with subprocess.Popen(
        [BIN / "teola", "engine", "logs", "-f"], stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline().startswith("$ ")
        assert teola("stop", record.name).stdout == f"stopped {record.name}\n"
        follower.communicate(timeout=30)
        assert follower.returncode == 0
    assert not is_alive(record.pid)
    assert teola("logs", record.name, "-n", "1").stdout == "listening\n"
    assert teola("list").stderr == "no server of `teola engine start` is running\n"


def test_all_servers_are_stopped_at_once(stand_in: StandIn, model: Path) -> None:
    words = ["--model", model, "--python", stand_in.python, "--port", "0", "--detach"]
    for server in ("vllm", "sglang"):
        assert teola("start", server, *words).returncode == 0
    assert teola("stop").stderr.startswith("error: which server? ")
    assert teola("stop", "--all").stdout.count("stopped ") == 2
    assert records.running() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["start", "tgi", "--model", "x"], "unknown server 'tgi'; known: vllm, sglang"),
        (["stop"], "no server of `teola engine start` is running"),
        (["stop", "vllm-1", "--all"], "give the name of a server or --all, not both"),
        (["logs", "vllm-1"], "no server of `teola engine start` is running"),
        (["install", "sglang", "--cpu"], "there is no installable CPU build of SGLang"),
        (["install", "tgi"], "unknown server 'tgi'; known: vllm, sglang"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(words: list[str], message: str) -> None:
    done = teola(*words)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1
