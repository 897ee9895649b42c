"""`teola serve` as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from server_process import TEOLA, server_process

__all__ = ["HERE", "TEOLA", "Process", "apps_process"]

HERE = Path(__file__).parent


@dataclass
class Process:
    """One server."""

    process: subprocess.Popen[str]
    url: str  # of its root

    def metric(self, line: str) -> float:
        """The value of a line of /metrics; 0 if there is none."""
        for found in httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines():
            if found.startswith(f"{line} "):
                return float(found.rpartition(" ")[2])
        return 0.0


@contextmanager
def apps_process(*words: str, **environment: str) -> Iterator[Process]:
    """`teola serve` with `words`, once it is ready."""
    with server_process("serve", *words, **environment) as (process, url):
        yield Process(process, url)
