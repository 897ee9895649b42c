"""The benchmark of streams: both sides decode the same, and its last line says how fast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "benchmarks/bench_streams.py"


@pytest.mark.model
@pytest.mark.server
def test_the_last_line_has_both_rates_and_their_ratio() -> None:
    words = ["--streams", "3", "--new", "6", "--trials", "1"]
    done = subprocess.run(
        [sys.executable, str(BENCH), *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["engine"] > 0 < found["streams"]
    assert found["ratio"] == pytest.approx(found["streams"] / found["engine"], rel=0.01)
