"""The installed commands, as a shell starts them."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
SLOW = """
import time
import teola as tl

@tl.tool
def slow(x: str) -> str:
    print("started", flush=True)
    time.sleep(60)
    return x

@tl.app
def wait(x: str) -> str:
    return slow(x)
"""


def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    environment.pop("COLUMNS", None)
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


def test_run_graph_and_teola_run_are_the_same(app_file: Path) -> None:
    words = [f"{app_file}:talk", "--topic", "sea", "--quiet"]

    assert run("run-graph", *words).stdout == "one two three\n"
    assert run("teola", "run", *words).stdout == "one two three\n"


def test_data_and_the_rest_go_to_different_streams(app_file: Path) -> None:
    done = run("run-graph", f"{app_file}:loud", "--x", "hey")

    assert done.stdout == "HEY\n"
    assert done.stderr.startswith("shouting\n")
    assert "\x1b" not in done.stdout + done.stderr


def test_a_text_may_come_through_a_pipe(app_file: Path) -> None:
    done = run("run-graph", f"{app_file}:loud", "--x", "-", "--quiet", stdin="from a pipe")

    assert done.stdout == "FROM A PIPE\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--topic", "x"], 0), (["--engine", "llm=nope:", "--topic", "x"], 1), ([], 2)],
)
def test_the_exit_code_tells_success_failure_and_wrong_usage(
    app_file: Path, words: list[str], code: int
) -> None:
    assert run("run-graph", f"{app_file}:talk", *words).returncode == code


def test_ctrl_c_ends_the_process_at_once_with_130(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    words = ["slow.py:wait", "--x", "a", "--trace", "t.jsonl"]
    process = subprocess.Popen(
        [str(BIN / "run-graph"), *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    assert '"status": "QueryCancelled"' in (tmp_path / "t.jsonl").read_text()


def test_a_run_that_is_given_up_does_not_wait_for_its_tool(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    began = time.monotonic()
    done = run("run-graph", "slow.py:wait", "--x", "a", "--timeout", "0.5")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("did not finish within 0.5 s")
    assert time.monotonic() - began < 30


def on_a_terminal(*command: str, **environment: str) -> tuple[str, str]:
    """What a command writes to stdout, a pipe, and to stderr, a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # Linux says EIO when the other end is closed
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    return out, shown.decode()


def test_on_a_terminal_progress_is_shown_and_stdout_has_the_answer_only(app_file: Path) -> None:
    app_file.write_text(app_file.read_text().replace('"fake:",', '"fake:", token_s=0.3,'))
    out, shown = on_a_terminal("run-graph", f"{app_file}:talk", "--topic", "sea")

    assert out == "one two three\n"
    assert "say" in shown
    assert "primitive done" in shown


@pytest.mark.parametrize(("words", "environment"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_colours_can_be_turned_off(
    app_file: Path, words: list[str], environment: dict[str, str]
) -> None:
    command = ("run-graph", f"{app_file}:talk", "--topic", "sea", *words)

    assert not re.search(r"\x1b\[[\d;]*m", on_a_terminal(*command, **environment)[1])


def test_a_reader_that_closes_the_pipe_is_no_error(app_file: Path) -> None:
    command = f"{BIN}/teola graph {app_file}:talk --level primitive | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stderr == ""


def test_a_command_whose_reader_had_enough_ends_as_sigpipe_would_end_it() -> None:
    code = "from teola.cli.failures import reported\nwith reported():\n    raise BrokenPipeError"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("words", [["--help"], ["trace", "gone.jsonl"], ["version"]])
def test_light_commands_load_neither_torch_nor_numpy(words: list[str]) -> None:
    code = (
        "import sys\nfrom teola.cli.main import main\n"
        f"sys.argv[1:] = {words!r}\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stderr.splitlines()[-1] == "[]"


def test_help_lists_every_command() -> None:
    shown = run("teola", "--help").stdout

    for name in ("run", "graph", "plan", "trace", "models", "version"):
        assert f" {name} " in shown


def test_version_is_that_of_the_package() -> None:
    import teola

    assert run("teola", "version").stdout == f"teola {teola.__version__}\n"


def test_an_unknown_command_is_wrong_usage() -> None:
    assert run("teola", "nope").returncode == 2
