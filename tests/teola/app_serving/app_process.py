"""`teola serve` as a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

TEOLA = Path(sys.executable).parent / "teola"
HERE = Path(__file__).parent


@dataclass
class Process:
    """One server."""

    process: subprocess.Popen[str]
    url: str  # of its root

    def metric(self, line: str) -> float:
        """The value of a line of /metrics; 0 if there is none."""
        for found in httpx.get(f"{self.url}/metrics").text.splitlines():
            if found.startswith(f"{line} "):
                return float(found.rpartition(" ")[2])
        return 0.0


@contextmanager
def apps_process(*words: str, **environment: str) -> Iterator[Process]:
    """`teola serve` with `words`, on a free port if they name none, once it is ready."""
    port = () if "--port" in words else ("--port", "0")
    process = subprocess.Popen(
        [str(TEOLA), "serve", *words, *port],
        stderr=subprocess.PIPE,
        text=True,
        cwd=HERE.parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stderr:
            said += line
            if found := re.match(r"ready on (http://\S+)/v1", line):
                yield Process(process, found[1])
                break
        else:
            raise AssertionError(f"the server did not start:\n{said}")
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()
