"""A server ends with the process that started it, however that ends and whatever was stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
PARENT = """
import sys, threading
from backends.processes.process_group import spawn
begun = []
make = lambda: begun.append(spawn([sys.executable, "-c", "import time; time.sleep(600)"],
    open("/dev/null", "wb"), {}, is_detached=False))
thread = threading.Thread(target=make)
thread.start()
thread.join()  # the system sends signals at the end of a thread, too
print(begun[0].pid, flush=True)
sys.stdin.read()
"""


def _wait_for_server(watchdog: psutil.Process) -> psutil.Process:
    """It runs its own program: until then the watchdog waits for it, and would with it stopped."""
    for _ in range(1000):
        if (children := watchdog.children()) and children[0].cmdline()[1:2] == ["-c"]:
            return children[0]
        ended, _ = psutil.wait_procs([watchdog], timeout=0.02)
        assert not ended, "the watchdog ended"
    raise AssertionError("no server was started")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing continues a stopped process")
@pytest.mark.parametrize("stopped", ["nothing", "the server", "all"])
def test_a_server_ends_with_a_killed_process_though_it_is_stopped(stopped: str) -> None:
    command, pipe = [sys.executable, "-c", PARENT], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        watchdog = psutil.Process(int(parent.stdout.readline()))
        server = _wait_for_server(watchdog)
        if stopped == "the server":
            server.suspend()
        elif stopped == "all":
            os.killpg(watchdog.pid, signal.SIGSTOP)
        parent.kill()
    _, alive = psutil.wait_procs([watchdog, server], timeout=8.0)  # less than its last resort
    for each in alive:
        each.kill()
    assert not alive
