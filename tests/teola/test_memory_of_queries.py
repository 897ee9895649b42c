"""Two hundred queries at once on an embedded engine: their memory is bounded, and comes back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("many_queries.py")
QUERIES = 200
EACH_MIB = 0.2  # a query: its requests, tasks, token ids and texts. Its KV is in the engine's pool,
# which is made when the engine loads, and requests wait where the pool is full
LEFT_MIB = 4.0  # that a second round may add to what the first took: free lists of the allocator


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' /proc")
def test_two_hundred_queries_stay_within_their_bound_and_leave_nothing(
    tiny_folder: Callable[..., Path],
) -> None:
    folder = tiny_folder("llama", max_position_embeddings=1024)
    command = [sys.executable, str(PROGRAM), str(folder), str(QUERIES), "2"]
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["most"] - found["before"] <= QUERIES * EACH_MIB
    assert found["after"][1] - found["after"][0] <= LEFT_MIB
