"""Many queries at once on an embedded engine: their memory is bounded, and none is lost."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("many_queries.py")
QUERIES = 200
EACH_MIB = 0.2  # a query: its requests, tasks, token ids and texts. Its KV is in the engine's pool,
# which is made when the engine loads, and requests wait where the pool is full
LEFT_MIB = 4.0  # that a second round may add to what the first took: free lists of the allocator


CROWD = Path(__file__).with_name("crowd_at_the_door.py")
CROWD_QUERIES, CROWD_WAITING = 10_000, 1_000
CROWD_MIB = 200.0  # tasks and outcomes of those who ask, and what was let in

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' /proc")


def said_by(program: Path, *words: str) -> dict[str, Any]:
    """The JSON that a program prints last."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(program), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_two_hundred_queries_stay_within_their_bound_and_leave_nothing(
    tiny_folder: Callable[..., Path],
) -> None:
    folder = tiny_folder("llama", max_position_embeddings=1024)
    found = said_by(PROGRAM, str(folder), str(QUERIES), "2")
    assert found["most"] - found["before"] <= QUERIES * EACH_MIB
    assert found["after"][1] - found["after"][0] <= LEFT_MIB


def test_of_ten_thousand_queries_at_once_each_is_served_or_refused_in_bounded_memory(
    tiny_folder: Callable[..., Path],
) -> None:
    folder = tiny_folder("llama", max_position_embeddings=1024)
    found = said_by(CROWD, str(folder), str(CROWD_QUERIES), str(CROWD_WAITING))
    served, refused = found["outcomes"]["str"], found["outcomes"]["refused"]
    assert served + refused == CROWD_QUERIES  # none is lost, and nothing else became of any
    assert served >= CROWD_WAITING
    assert refused >= CROWD_QUERIES / 2
    assert found["late"] == "str"
    assert found["held_pages"] <= 1  # of the context of the last query
    assert found["most"] - found["before"] <= CROWD_MIB
