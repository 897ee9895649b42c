"""`teola top` as a process: once for scripts, and in a pseudo-terminal."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stub_servers import StubServer, run_body

TEOLA = [sys.executable, "-c", "from teola.cli.main import main; main()", "top"]
ALTERNATE, MAIN_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"


def once(*words: str, key: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "110", "TEOLA_API_KEY": key}
    return subprocess.run(
        [*TEOLA, "--interval", "0.1", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_once_prints_servers_and_runs(stub: StubServer) -> None:
    stub.has_runs(run_body())
    done = once(stub.url, "--once")

    assert done.returncode == 0, done.stderr
    assert f"{stub.url}  apps  1 run, 2 primitives running, 2 waiting" in done.stdout
    assert "index.vectors embed on embedder 1.50 s +1" in done.stdout
    assert "\x1b" not in done.stdout


def test_json_is_one_object_for_scripts(stub: StubServer) -> None:
    stub.has_runs(run_body())
    stub.key = "secret"
    done = once(str(stub.port), "--json", key="secret")
    (server,) = json.loads(done.stdout)["servers"]

    assert (server["url"], server["kind"]) == (stub.url, "apps")
    assert server["runs"][0]["waiting"] == {"reranker": 2}
    assert server["load"]["tokens_per_s"] == 0.0


@pytest.mark.parametrize("words", [("--once",), ("--json",)])
def test_passwords_in_urls_are_not_printed(stub: StubServer, words: tuple[str, ...]) -> None:
    stub.has_runs(run_body())
    host = stub.url.removeprefix("http://")
    done = once(f"http://user:SECRET@{host}", *words)
    assert f"http://user:***@{host}" in done.stdout
    away = once("http://user:SECRET@127.0.0.1:9", *words)
    assert away.stderr == "error: no server to show: http://user:***@127.0.0.1:9: not answering\n"
    assert "SECRET" not in done.stdout + done.stderr + away.stdout


def test_without_any_server_it_says_so_and_fails() -> None:
    stub = StubServer()
    stub.close()
    done = once(stub.url, "--once")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: no server to show: {stub.url}: not answering\n"


def test_a_wrong_order_is_a_wrong_usage() -> None:
    done = once("--sort", "size")

    assert done.returncode == 2
    assert "--sort is age, tokens, app, not 'size'" in done.stderr


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, url: str, rows: int = 24, columns: int = 100) -> None:
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        left_out = ("COLUMNS", "LINES", "NO_COLOR")
        environment = {k: v for k, v in os.environ.items() if k not in left_out}
        self.process = subprocess.Popen(
            [*TEOLA, url, "--interval", "0.1"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm"},
        )
        os.close(theirs)
        self.output = b""

    def until(self, is_so: Callable[[bytes], bool], seconds: float = 60.0) -> None:
        """Reads on until what came since the last call is so."""
        new = b""
        end_s = time.monotonic() + seconds
        while not is_so(new):
            assert time.monotonic() < end_s, self.output[-2000:]
            if self._has_output(0.1):
                try:
                    data = os.read(self.fd, 65536)
                except OSError:  # it ended
                    break
                new += data
                self.output += data

    def shows(self, text: str) -> None:
        self.until(lambda new: text.encode() in new)

    def end(self) -> int:
        """Its exit code, when it has ended by itself."""
        end_s = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < end_s, "it did not end"
            self._drain()
        self._drain()
        return self.process.returncode

    def _has_output(self, seconds: float) -> bool:
        waiting = select.poll()  # select() knows only the first 1,024 files
        waiting.register(self.fd, select.POLLIN)
        return bool(waiting.poll(1000 * seconds))

    def _drain(self) -> None:
        while self._has_output(0.05):
            try:
                self.output += os.read(self.fd, 65536)
            except OSError:
                return

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


@contextmanager
def terminal(url: str, **size: int) -> Iterator[Terminal]:
    opened = Terminal(url, **size)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda t: os.write(t.fd, b"q"), 0),
        (lambda t: t.process.send_signal(signal.SIGINT), 0),  # Ctrl-C
        (lambda t: t.process.send_signal(signal.SIGTERM), 143),
    ],
    ids=["q", "Ctrl-C", "SIGTERM"],
)
def test_it_leaves_the_terminal_as_it_was(
    stub: StubServer, leave: Callable[[Terminal], None], code: int
) -> None:
    stub.has_runs(run_body())
    with terminal(stub.url) as shown:
        before = termios.tcgetattr(shown.fd)[3]
        shown.shows("rag")
        assert ALTERNATE in shown.output
        leave(shown)
        assert shown.end() == code
        assert shown.output.rstrip().rpartition(MAIN_SCREEN)[1]
        assert b"Traceback" not in shown.output
        assert termios.tcgetattr(shown.fd)[3] & termios.ICANON == before & termios.ICANON


def test_it_follows_runs_and_a_server_that_goes_and_comes_back() -> None:
    stub = StubServer()
    stub.has_runs(run_body())
    with terminal(stub.url) as shown:
        shown.shows("2/8")
        stub.has_runs(run_body(progress={"done": 7}))
        shown.shows("7/8")
        stub.close()
        shown.shows("not answering")
        again = StubServer(stub.port)
        again.has_runs(run_body(app="other"))
        shown.shows("other")
        os.write(shown.fd, b"q")
        assert shown.end() == 0
        again.close()


def test_s_changes_the_order_of_runs(stub: StubServer) -> None:
    quick = run_body(app="quick", seconds=1.0, progress={"text_pieces": 90})
    stub.has_runs(run_body(app="old"), quick)
    with terminal(stub.url) as shown:
        shown.until(lambda new: 0 < new.find(b"old") < new.find(b"quick"))
        os.write(shown.fd, b"s")
        shown.until(lambda new: 0 < new.rfind(b"quick") < new.rfind(b"old") and b"quick" in new)
        os.write(shown.fd, b"q")
        assert shown.end() == 0
