"""Queries with effects while engines and the process are killed: what is lost, what is twice?

    python benchmarks/chaos.py [--queries 500] [--kills 20] [--engine process:local:smollm2-135m]

A worker runs an app that keeps its runs. Its LLM has two processes, which a thread of the worker
kills or stops at random. This process kills the worker, and starts it again, which goes on with
what it finds; an effect in doubt is looked up in the file of effects, as one would look into an
outbox. The last worker is left to end. The last line is JSON.
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
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil

import teola as tl
from backends.processes.child import Child
from backends.processes.process_engine import ProcessEngine
from backends.remote.routing.routed_engine import RoutedEngine
from runtime.run_store.database import FILE
from runtime.run_store.values import decode
from teola.runner import default_runner

FOLDER = Path(os.environ.get("CHAOS_FOLDER", "."))
URL = os.environ.get("CHAOS_ENGINE", "fake:")
AT_ONCE = 16
MOST_RESUMES = 20
_OPTIONS: dict[str, Any] = {"instances": 2, "timeout_s": 20.0} if URL.startswith("process:") else {}

llm = tl.LLM(URL, name="llm", **_OPTIONS)


def note(line: str) -> None:
    with (FOLDER / "effects").open("a") as file:
        file.write(f"{line}\n")


def noted() -> Counter[str]:
    path = FOLDER / "effects"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


@tl.prompt(llm, max_tokens=8)
def answer(question: str) -> str:
    return f"Say something about {question}."


@tl.tool
def deliver(number: int, text: str) -> str:
    """Deliver an answer."""
    note(f"begin {number}")
    time.sleep(0.01)
    note(f"end {number}")
    return text


@tl.app
def mail(number: int, question: str) -> str:
    return deliver(number, answer(question))


@tl.app
def expected(question: str) -> str:
    return answer(question)


def work(num_queries: int, seed: int) -> None:
    """Go on with what was begun, and begin the rest."""
    runs = str(FOLDER / "runs")
    open_runs = {_number(one): one for one in tl.runs(runs)}
    default_runner().load({"llm": llm.spec}, mail.options)
    threading.Thread(target=_trouble, args=(seed,), daemon=True).start()

    def finish(number: int) -> str:
        found = open_runs.get(number)
        if found is None:
            try:
                mail.using(runs=runs)(number, f"number {number}")
                return "new"
            except tl.errors.QueryError:
                found = next(one for one in tl.runs(runs) if _number(one) == number)
        if found.state != "finished":
            _resume(found.run.id, number, runs)
        return "resumed"

    with ThreadPoolExecutor(AT_ONCE) as threads:
        outcomes = Counter(threads.map(finish, range(num_queries)))
    default_runner().close()
    files = [each.path for each in psutil.Process().open_files()]
    print(json.dumps({**outcomes, "open": [path for path in files if str(FOLDER) in path]}))


def _number(found: Any) -> int:
    args, kwargs = decode(found.run.arguments)
    return int(args[0] if args else kwargs["number"])


def _resume(run_id: str, number: int, runs: str) -> None:
    for num_failed in range(MOST_RESUMES):
        try:
            tl.resume(run_id, runs=runs, app=mail)
            return
        except tl.errors.EffectInDoubt:
            is_done = noted()[f"end {number}"] > 0
            tl.resume(run_id, runs=runs, app=mail, in_doubt="skip" if is_done else "retry")
            return
        except tl.errors.NodeFailed as failure:
            if not isinstance(failure.cause, tl.errors.EngineError):
                raise
            time.sleep(min(5.0, 0.25 * 2**num_failed))  # until an engine is there again
    raise AssertionError(f"run {run_id} fails again and again")


def _trouble(seed: int) -> None:
    """Kill a process of the LLM, or let it hang for a while."""
    chance = random.Random(seed)
    while True:
        time.sleep(chance.uniform(1.0, 5.0))
        up = [one.child for one in _processes() if one.is_up and isinstance(one.child, Child)]
        if not up:
            continue
        group = chance.choice(up).pid
        try:
            if chance.random() < 0.7:
                os.killpg(group, signal.SIGKILL)
                note("killed an engine")
            else:
                os.killpg(group, signal.SIGSTOP)
                note("stopped an engine")
                time.sleep(2.0)
                os.killpg(group, signal.SIGCONT)
        except ProcessLookupError:
            pass


def _processes() -> list[ProcessEngine]:
    engines = [engine for _, engine in default_runner().engines]
    routed = [each for each in engines if isinstance(each, RoutedEngine)]
    inner = [endpoint.engine for each in routed for endpoint in each.endpoints]
    return [each for each in inner if isinstance(each, ProcessEngine)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--engine", default="process:local:smollm2-135m")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # its number
    given = parser.parse_args()
    if given.worker is not None:
        work(given.queries, given.seed + given.worker)
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(chaos(Path(folder), given)))


def chaos(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Kill the worker again and again, let the last one end, and look at what is there."""
    chance, began_s = random.Random(given.seed), time.monotonic()
    words = [sys.executable, __file__, "--queries", str(given.queries), "--seed", str(given.seed)]
    env = {**os.environ, "CHAOS_FOLDER": str(folder), "CHAOS_ENGINE": given.engine}
    num_kills, step, last = 0, max(1, given.queries // (given.kills + 2)), ""
    seen: set[psutil.Process] = set()
    while True:
        command = [*words, "--worker", str(num_kills)]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as worker:
            if num_kills < given.kills:
                _wait_for(folder, worker, step)
                time.sleep(chance.uniform(0, 0.1))
                seen |= _children(worker.pid)
                worker.kill()
            last = worker.communicate()[0]
        if worker.returncode == 0:
            break
        assert worker.returncode == -signal.SIGKILL, worker.returncode
        num_kills += 1
        print(f"killed {num_kills} times, {_num_ended(folder)} delivered", flush=True)
    time.sleep(1.0)
    report = json.loads(last.splitlines()[-1])
    return {
        **_found(folder, given.queries),
        "worker_kills": num_kills,
        "orphans": sum(each.is_running() for each in seen),
        "open_files": len(report["open"]),
        "seconds": round(time.monotonic() - began_s, 1),
    }


def _children(pid: int) -> set[psutil.Process]:
    try:
        return set(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:  # it came to its end first
        return set()


def _wait_for(folder: Path, worker: "subprocess.Popen[str]", step: int) -> None:
    lines = folder / "effects"
    wanted = _num_ended(folder) + step
    while worker.poll() is None and _num_ended(folder) < wanted:
        time.sleep(0.01)
    assert worker.returncode in (None, 0), f"the worker ended early; see {lines}"


def _num_ended(folder: Path) -> int:
    path = folder / "effects"
    return path.read_text().count("end ") if path.exists() else 0


def _found(folder: Path, num_queries: int) -> dict[str, Any]:
    lines = Counter((folder / "effects").read_text().splitlines())
    ends = [lines[f"end {number}"] for number in range(num_queries)]
    states = Counter(one.state for one in tl.runs(folder / "runs"))
    with sqlite3.connect(folder / "runs" / FILE) as database:
        (integrity,) = database.execute("PRAGMA integrity_check").fetchone()
    database.close()
    return {
        "queries": num_queries,
        "finished": states["finished"],
        "other_states": sum(states.values()) - states["finished"],
        "delivered_once": ends.count(1),
        "twice": sum(count > 1 for count in ends),
        "begun_again_in_doubt": sum(lines[f"begin {n}"] > 1 for n in range(num_queries)),
        "engine_kills": lines["killed an engine"],
        "engine_stops": lines["stopped an engine"],
        "database": integrity,
    }


if __name__ == "__main__":
    main()
