"""Runs a server and stops it, with all its processes, when the process that wanted it is gone.

    python watchdog.py COMMAND ...      with a pipe as stdin, whose other end that process holds

The system closes the pipe however that process ends, SIGKILL too. Only the standard library: this
file is run as a script, in a process group of its own with the server.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 10.0  # from SIGTERM to SIGKILL


def main(words: list[str]) -> int:
    # A handler and not SIG_IGN, which the server would inherit. Who sends a signal to the group
    # means the server.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    server = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    is_alone = threading.Event()
    threading.Thread(target=_stop_at_end_of_pipe, args=[is_alone], daemon=True).start()
    code = server.wait()
    if is_alone.is_set():
        os.killpg(0, signal.SIGKILL)  # what the server left behind, and this process
    return 128 - code if code < 0 else code  # as a shell tells of a signal


def _stop_at_end_of_pipe(is_alone: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    is_alone.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
