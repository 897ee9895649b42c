"""A server's processes: started in a group of their own, and stopped together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from backends.errors import ConfigError
from backends.processes import watchdog
from backends.processes.watchdog import GRACE_S

_POLL_S = 0.05
_HAS_PROC = Path("/proc/self/stat").exists()
_DEAD = "ZX"  # states of /proc: a zombie that nobody reaps is no process to wait for


def check_platform() -> None:
    """Raises ConfigError where there are no process groups."""
    if sys.platform == "win32":
        raise ConfigError("servers are started on Linux and macOS; on Windows, start them in WSL")


def spawn(
    words: Sequence[str], log: IO[bytes], variables: Mapping[str, str], *, is_detached: bool
) -> subprocess.Popen[bytes]:
    """Start a server that writes to `log`. Unless it is detached, it ends with this process."""
    guarded = [sys.executable, "-I", "-S", watchdog.__file__, *words]
    return subprocess.Popen(
        words if is_detached else guarded,
        stdin=subprocess.DEVNULL if is_detached else subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, **variables},
        start_new_session=True,
    )


def stop_group(
    pid: int, grace_s: float = GRACE_S, reap: Callable[[], object] = lambda: None
) -> None:
    """Ask all processes of the group of `pid` to end, and kill what is left after `grace_s` or
    at an interrupt. `reap` polls a leader that is our own child."""
    try:
        _signal(pid, signal.SIGTERM)
        _wait_until_gone(pid, grace_s, reap)
    finally:
        if is_alive(pid):
            _signal(pid, signal.SIGKILL)
            _wait_until_gone(pid, grace_s, reap)


def release(process: subprocess.Popen[bytes], *, keeps_running: bool = False) -> None:
    """Free what we hold of a server that has ended, or that is to run on without us."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    if keeps_running:
        process.returncode = 0  # it will never be waited for, of which Popen would warn
    else:
        process.wait()


def identity(pid: int) -> str | None:
    """What tells a process from a later one of the same id; None when it has ended."""
    if _HAS_PROC:
        fields = _stat(pid)
        return fields[19] if fields and fields[0] not in _DEAD else None  # its start time
    words = ["ps", "-o", "lstart=", "-p", str(pid)]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def is_alive(group: int) -> bool:
    """Whether any process of the group runs."""
    if _HAS_PROC:
        ids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        stats = (_stat(pid) for pid in ids)
        return any(fields[2] == str(group) and fields[0] not in _DEAD for fields in stats if fields)
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _wait_until_gone(group: int, seconds: float, reap: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    reap()
    while is_alive(group) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        reap()
