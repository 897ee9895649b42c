"""A process that is killed at random points, again and again: no finished effect happens twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import killed_app
import pytest

from runtime.run_store.store import RunStore

APP = Path(killed_app.__file__)
NUM_KILLS = 10
MOST_S = 60.0
SLACK = 2  # lines that a life may write while its killer is late


def started(folder: Path, most_lines: int = 0) -> subprocess.Popen[bytes]:
    root = Path(__file__).parent.parent.parent
    env = {
        **os.environ,
        "RUNS": str(folder / "runs"),
        "EFFECTS": str(folder / "effects"),
        "MOST_LINES": str(most_lines),
        "PYTHONPATH": str(root),
    }
    return subprocess.Popen([sys.executable, str(APP)], env=env, stderr=subprocess.PIPE)


def lines_of(folder: Path) -> list[str]:
    effects = folder / "effects"
    return effects.read_text(encoding="utf-8").splitlines() if effects.exists() else []


def killed_after(folder: Path, num_lines: int, delay_s: float) -> bool:
    """Whether the process was killed, a moment after it wrote so many lines."""
    wanted = len(lines_of(folder)) + num_lines
    with started(folder, num_lines + SLACK) as process:
        until = time.monotonic() + MOST_S
        while process.poll() is None and len(lines_of(folder)) < wanted:
            assert time.monotonic() < until, "it wrote nothing"
            time.sleep(0.0002)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), said.decode()
    return process.returncode != 0


def again(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each effect that began again, with those that were in doubt since it began."""
    begun: list[str] = []
    doubtful: dict[str, list[str]] = {}
    for line in lines:
        if line == "doubt":
            doubtful = dict.fromkeys(begun, begun[-2:])  # two calls of a turn run at once
        elif line.startswith("begin "):
            order = line.removeprefix("begin ")
            if order in begun:
                yield order, doubtful.pop(order, [])
            begun.append(order)


@pytest.mark.parametrize("seed", [1])
def test_no_finished_effect_happens_again_however_often_the_process_is_killed(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    kills = sum(
        killed_after(tmp_path, rng.randint(1, 6), rng.uniform(0, 0.004)) for _ in range(NUM_KILLS)
    )
    assert kills >= NUM_KILLS // 2, "the run has 40 lines, and a life wrote 8 at the most"
    with started(tmp_path) as last:
        _, said = last.communicate(timeout=MOST_S)
    assert last.returncode == 0, said.decode()
    lines = lines_of(tmp_path)
    for order, in_doubt in again(lines):
        assert order in in_doubt, f"{order} happened again, and it was not in doubt"
    begun = [line for line in lines if line.startswith("begin ")]
    assert len(set(begun)) == 20
    store = RunStore(tmp_path / "runs")
    (run,) = store.summaries()
    assert (run.state, run.question) == ("finished", "")
    store.close()
    assert list((tmp_path / "runs" / "owners").iterdir()) == []
