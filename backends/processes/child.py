"""One `teola serve-engine` as a child of this process, on a port of this machine."""

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from backends.errors import EngineUnavailable
from backends.local_engine import in_thread_or_here
from backends.processes.process_group import release, spawn, stop_group

START_S = 600.0  # a model may be large, and a disk slow
SHOWN_LINES = 12  # of the log, in an error
_LOOK_S = 0.05
_GRACE_S = 3.0
_READY = re.compile(rb"^ready on http://", re.MULTILINE)
_ROOT = Path(__file__).parents[2]  # of our packages: the child runs the same ones


class Child:
    """Starts at once. All its processes end with this one, however that ends."""

    def __init__(self, url: str, words: Sequence[str], port: int) -> None:
        self._url = url
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        command = [sys.executable, "-m", "teola", "serve-engine", *words, "--port", str(port)]
        self._process = spawn(command, self._log, _variables(), is_detached=False)

    @property
    def pid(self) -> int:
        """Of its process group."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def ready(self) -> None:
        """Wait until it takes requests. Raises EngineUnavailable with the end of its log."""
        try:
            async with asyncio.timeout(START_S):
                while not _READY.search(self._text()):
                    if not self.is_alive:
                        raise self.failure("did not start")
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise self.failure(f"did not start within {START_S:g} s") from None

    def failure(self, what: str) -> EngineUnavailable:
        """The error of a child that is not there."""
        code = self._process.poll()
        ended = "" if code is None else f" (exit code {code})"
        lines = self._text().decode("utf-8", "replace").splitlines()[-SHOWN_LINES:]
        shown = "".join(f"\n  | {line}" for line in lines)
        return EngineUnavailable(f"the process of {self._url} {what}{ended}{shown}")

    async def stop(self, grace_s: float = _GRACE_S) -> None:
        """End all its processes; idempotent."""
        if self._log.closed:
            return
        stop = partial(stop_group, self.pid, grace_s, self._process.poll)
        await in_thread_or_here(None, stop)
        release(self._process)
        self._log.close()

    def _text(self) -> bytes:
        """The end of its log. The child writes at the place of our own file handle."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), 65_536, max(0, size - 65_536))


def _variables() -> Mapping[str, str]:
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": path}
