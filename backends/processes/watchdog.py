"""Runs a server and stops it, with all its processes, when the process that wanted it is gone.

    python watchdog.py COMMAND ...      with a pipe as stdin, whose other end that process holds

The system closes the pipe however that process ends, SIGKILL too. On Linux the end of the process
also continues this one, which may have been stopped (SIGSTOP) together with the server. Only the
standard library: this file is run as a script, in a process group of its own with the server.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 10.0  # from SIGTERM to SIGKILL
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def main(words: list[str]) -> int:
    # A handler and not SIG_IGN, which the server would inherit. Who sends a signal to the group
    # means the server.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    _be_continued_at_end_of_parent()
    server = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    is_alone = threading.Event()
    threading.Thread(target=_stop_at_end_of_pipe, args=[is_alone], daemon=True).start()
    code = server.wait()
    if is_alone.is_set():
        os.killpg(0, signal.SIGKILL)  # what the server left behind, and this process
    return 128 - code if code < 0 else code  # as a shell tells of a signal


def _be_continued_at_end_of_parent() -> None:
    # A stopped process reads no pipe. SIGCONT and not SIGKILL: the system sends it at the end of
    # each thread of the parent that had us as a child, and the others may go on.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def _stop_at_end_of_pipe(is_alone: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    is_alone.set()
    os.killpg(0, signal.SIGTERM)
    os.killpg(0, signal.SIGCONT)  # what is stopped takes a signal only then
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
