"""Queries with effects while engines and the process are killed: what is lost, what is twice?

    python benchmarks/chaos.py [--queries 500] [--kills 20] [--engine process:local:smollm2-135m]

A worker (`chaos_worker.py`) runs an app that keeps its runs. Its LLM has two processes, which it
kills, ends, stops or slows at random. This process kills the worker, at times while one of its
engines is stopped, and starts it again; it goes on with what it finds. An effect in doubt is looked
up in the file of effects, as one would look into an outbox. The last worker is left to end.

Answers are compared with those of a run that nothing disturbs. The last line is JSON.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil

import teola as tl
from backends.processes import watchdog
from runtime.run_store.database import FILE

WORKER = Path(__file__).with_name("chaos_worker.py")
GONE_S = 30.0  # for children of a killed worker: watchdogs take ten at the most
STOPPED = 0.3  # of the kills happen while an engine is stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--engine", default="process:local:smollm2-135m")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(chaos(Path(folder), given)))


def chaos(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Kill the worker again and again, let the last one end, and look at what is there."""
    chance, began_s = random.Random(given.seed), time.monotonic()
    words = [sys.executable, str(WORKER), str(folder), given.engine, str(given.queries)]
    right = json.loads(_said([*words, "0", "--undisturbed"]))
    num_kills, num_stopped, step = 0, 0, max(1, given.queries // (given.kills + 2))
    seen: set[psutil.Process] = set()
    while True:
        more = given.kills - num_kills  # a worker that is to be killed leaves them for the next
        command = [*words, str(given.seed + num_kills), "--leave", str(more)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            if num_kills < given.kills:
                _wait_for(folder, worker, min(_num_ended(folder) + step, given.queries - more))
                time.sleep(chance.uniform(0, 0.1))
                children = _children(worker.pid)
                seen.update(children)
                if chance.random() < STOPPED:
                    num_stopped += _stop_one(children)
                worker.kill()
            last = worker.communicate()[0]
        if worker.returncode == 0:
            break
        assert worker.returncode == -signal.SIGKILL, worker.returncode
        num_kills += 1
        print(f"killed {num_kills} times, {_num_ended(folder)} delivered", flush=True)
    _, orphans = psutil.wait_procs(seen, timeout=GONE_S)
    return {
        **_found(folder, right),
        **json.loads(last.splitlines()[-1]),
        "worker_kills": num_kills,
        "with_a_stopped_engine": num_stopped,
        "orphans": len(orphans),
        "seconds": round(time.monotonic() - began_s, 1),
    }


def _said(command: list[str]) -> str:
    """The last line."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:  # it came to its end first
        return []


def _stop_one(children: list[psutil.Process]) -> bool:
    """Stop an engine with its watchdog; whether there was one."""
    for each in children:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if watchdog.__file__ in each.cmdline():
                os.killpg(each.pid, signal.SIGSTOP)
                return True
    return False


def _wait_for(folder: Path, worker: "subprocess.Popen[str]", wanted: int) -> None:
    while worker.poll() is None and _num_ended(folder) < wanted:
        time.sleep(0.01)
    assert worker.returncode in (None, 0), "the worker failed"


def _num_ended(folder: Path) -> int:
    return sum(line.startswith("end ") for line in _lines(folder))


def _lines(folder: Path) -> list[str]:
    path = folder / "effects"
    return path.read_text().splitlines() if path.exists() else []


def _found(folder: Path, right: list[str]) -> dict[str, Any]:
    lines = [line.split(" ", 2) for line in _lines(folder)]
    numbers = range(len(right))
    ends = Counter(int(words[1]) for words in lines if words[0] == "end")
    begins = Counter(int(words[1]) for words in lines if words[0] == "begin")
    texts = {int(words[1]): json.loads(words[2]) for words in lines if words[0] == "end"}
    return {
        "queries": len(right),
        "delivered_once": sum(ends[number] == 1 for number in numbers),
        "twice": sum(ends[number] > 1 for number in numbers),
        "right_text": sum(texts.get(number) == right[number] for number in numbers),
        "begun_again_in_doubt": sum(begins[number] > 1 for number in numbers),
        "trouble": Counter(words[1] for words in lines if words[0] == "trouble"),
        "typed_errors": Counter(words[1] for words in lines if words[0] == "error"),
        **_found_in_store(folder / "runs"),
    }


def _found_in_store(runs: Path) -> dict[str, Any]:
    states = Counter(one.state for one in tl.runs(runs))
    database = sqlite3.connect(runs / FILE)
    try:
        ask = "SELECT COUNT(*) FROM nodes WHERE run NOT IN (SELECT id FROM runs)"
        ((strangers,),) = database.execute(ask)
        ((owned,),) = database.execute("SELECT COUNT(*) FROM runs WHERE owner != ''")
        ((integrity,),) = database.execute("PRAGMA integrity_check")
    finally:
        database.close()
    return {
        "finished": states["finished"],
        "other_states": sum(states.values()) - states["finished"],
        "rows_of_no_run": strangers,
        "owned_runs": owned,
        "owner_files": len(list((runs / "owners").iterdir())),
        "database": integrity,
    }


if __name__ == "__main__":
    main()
