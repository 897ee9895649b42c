"""Short forms of `benchmarks/chaos.py`: a process with effects is killed and goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MOST_THREADS = 6  # of a process with closed engines: itself, the loop, the loop's pool
MOST_HANDLES = 16  # standard streams, and the loop's


def chaos(*words: str) -> dict[str, Any]:
    """What is found at its end."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), *words],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_all_is_well(found: dict[str, Any], num_queries: int) -> None:
    assert (found["finished"], found["other_states"]) == (num_queries, 0)
    assert (found["delivered_once"], found["twice"]) == (num_queries, 0)
    assert found["right_text"] == num_queries
    assert (found["orphans"], found["children"], found["kv_pages_left"]) == (0, 0, 0)
    assert (found["tasks"], found["files"], found["sockets"]) == ([], [], 0)
    assert (found["owned_runs"], found["owner_files"], found["rows_of_no_run"]) == (0, 0, 0)
    assert found["threads"] <= MOST_THREADS
    assert found["handles"] <= MOST_HANDLES
    assert found["database"] == "ok"


def test_each_effect_of_a_process_that_is_killed_happens_once_and_nothing_is_left() -> None:
    found = chaos("--queries", "24", "--kills", "2", "--engine", "fake:")
    check_all_is_well(found, 24)
    assert found["worker_kills"] == 2


@pytest.mark.model
def test_so_it_is_with_real_engines_that_are_killed_and_stopped_too() -> None:
    found = chaos("--queries", "32", "--kills", "1")
    check_all_is_well(found, 32)
    assert found["worker_kills"] == 1
    assert found["engines_looked_at"] == 2
