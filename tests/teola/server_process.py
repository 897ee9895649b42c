"""A server of the command line as a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEOLA = Path(sys.executable).parent / "teola"
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def server_process(
    verb: str, *words: str, **environment: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`teola VERB` with `words`, on a free port if they name none, once it is ready; its URL."""
    port = () if "--port" in words else ("--port", "0")
    process = subprocess.Popen(
        [str(TEOLA), verb, *words, *port],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stderr:
            said += line
            if found := re.match(r"ready on (http://\S+)/v1", line):
                yield process, found[1]
                break
        else:
            raise AssertionError(f"the server did not start:\n{said}")
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        finally:
            process.kill()
