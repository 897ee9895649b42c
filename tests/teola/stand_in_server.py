"""A program that stands in for a server's Python, and behaves as a file beside it says."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from teola.launching import launch
from teola.launching.recipes import RECIPES, ServedModel, Settings

STAND_IN = """#!{python} -IS
import os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
mode = (HERE / "mode").read_text()
if sys.argv[1] == "-c":
    sys.exit(mode == "missing")
(HERE / "started").open("a").write(" ".join(sys.argv[1:]) + "\\n")
port = int(sys.argv[sys.argv.index("--port") + 1])
if mode == "crash":
    print("loading weights")
    sys.exit("ModuleNotFoundError: No module named 'zmq'")
if mode == "raced" and len((HERE / "started").read_text().splitlines()) == 1:
    sys.exit("OSError: [Errno 98] Address already in use")
if mode == "chatty":
    for _ in range(20_000):
        print("INFO nothing of interest " * 10)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode in ("stubborn", "parent"):
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", child])
if mode == "never":
    time.sleep(600)
if mode == "slow":
    print("loading weights", flush=True)
    while not (HERE / "loaded").exists():
        time.sleep(0.01)


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        is_known = self.path in ("/health", "/ready")
        if "--api-key" in sys.argv:
            key = sys.argv[sys.argv.index("--api-key") + 1]
            if self.headers.get("Authorization") != "Bearer " + key:
                self.send_response(401)
                return self.end_headers()
        self.send_response(200 if is_known else 404)
        self.end_headers()

    def log_message(self, *words):
        pass


print("listening", flush=True)
ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""


FREE_PORT = Settings(port=0)


@dataclass(frozen=True)
class StandIn:
    """Where the program is, and what to tell it."""

    python: Path

    def behave(self, mode: str) -> None:
        (self.python.parent / "mode").write_text(mode)

    def finish_loading(self) -> None:
        (self.python.parent / "loaded").touch()

    @property
    def command_lines(self) -> list[str]:
        """Of the servers that were started."""
        return (self.python.parent / "started").read_text().splitlines()

    def start(
        self,
        name: str = "vllm",
        *,
        settings: Settings = FREE_PORT,
        tell: Callable[[launch.Waiting], None] = lambda _: None,
        **options: object,
    ) -> launch.Server:
        model = ServedModel("/models/tiny", "tiny")
        options = {"wait_s": 30.0, **options}
        return launch.start(RECIPES[name], self.python, model, settings, tell, **options)


def make_stand_in(folder: Path) -> StandIn:
    """A new one, which answers its health check at once."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(STAND_IN.replace("{python}", sys.executable))
    python.chmod(0o755)
    made = StandIn(python)
    made.behave("ready")
    return made
