"""The short form of `benchmarks/chaos.py`: a process with effects is killed and goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_effect_of_a_process_that_is_killed_happens_once_and_nothing_is_left() -> None:
    script = ROOT / "benchmarks" / "chaos.py"
    words = ("--queries", "24", "--kills", "2", "--engine", "fake:")
    done = subprocess.run(
        [sys.executable, str(script), *words],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["finished"], found["delivered_once"], found["twice"]) == (24, 24, 0)
    assert (found["other_states"], found["orphans"], found["open_files"]) == (0, 0, 0)
    assert found["database"] == "ok"
