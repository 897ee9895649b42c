"""Damaged model files are refused with their name or run: a part of `make fuzz`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_model_files.py")


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="each file is a process")
def test_damaged_model_files_are_refused_by_name_or_run() -> None:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--cases", "36", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["bad"] == 0
    assert counts["refused"] > 9
    assert counts["loaded"] + counts["refused"] == counts["cases"] == 36
