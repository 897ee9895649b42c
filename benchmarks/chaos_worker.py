"""One worker of `chaos.py`: goes on with the runs that it finds, and begins the rest.

    python benchmarks/chaos_worker.py FOLDER URL QUERIES SEED [--leave N] [--undisturbed]

Meanwhile a thread kills, ends, stops or slows its engines at random. The last line is JSON: what is
left of the queries once all have ended. `--undisturbed` only prints all answers.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx
import psutil

import teola as tl
from backends.processes.child import Child
from backends.processes.process_engine import ProcessEngine
from backends.remote.dialects.prometheus import MetricsPage
from backends.remote.routing.routed_engine import RoutedEngine
from runtime.run_store.values import decode
from teola.runner import default_runner

AT_ONCE = 16
MOST_RESUMES = 30
TROUBLE = {"kill": 4, "terminate": 2, "stop": 2, "slow": 2, "hang": 1}  # how often, to each other
BETWEEN = (1, 16)  # deliveries from one trouble to the next
KV_GAUGES = ("num_pages", "free_pages", "tree_pages", "pinned_pages", "idle_contexts")
SETTLED_S = 60.0  # for engines to come up again, and to end what was aborted

_parser = argparse.ArgumentParser()
_parser.add_argument("folder", type=Path)
_parser.add_argument("url")
_parser.add_argument("queries", type=int)
_parser.add_argument("seed", type=int)
_parser.add_argument("--leave", type=int, default=0, help="so many deliveries wait for ever")
_parser.add_argument("--undisturbed", action="store_true")
given = _parser.parse_args()
EFFECTS, RUNS = given.folder / "effects", str(given.folder / "runs")
_options: dict[str, Any] = {}
if given.url.startswith("process:") and not given.undisturbed:
    _options = {"instances": 2, "timeout_s": 20.0}

llm = tl.LLM(given.url, name="llm", **_options)


def note(line: str) -> None:
    """One write a line: lines of several threads do not mix, and a killed worker writes none in
    half."""
    with EFFECTS.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def is_delivered(number: int) -> bool:
    return any(line.startswith(f"end {number} ") for line in EFFECTS.read_text().splitlines())


def num_delivered() -> int:
    if not EFFECTS.exists():
        return 0
    return sum(line.startswith("end ") for line in EFFECTS.read_text().splitlines())


places = threading.Semaphore(max(0, given.queries - given.leave - num_delivered()))


@tl.prompt(llm, max_tokens=16)
def answer(question: str) -> str:
    return f"Say something about {question}."


@tl.tool
def deliver(number: int, text: str) -> str:
    """Deliver an answer."""
    if given.leave:
        places.acquire()
    note(f"begin {number}")
    time.sleep(0.01)
    note(f"end {number} {json.dumps(text)}")
    return text


@tl.app
def mail(number: int, question: str) -> str:
    return deliver(number, answer(question))


@tl.app
def undisturbed(question: str) -> str:
    return answer(question)


def work() -> dict[str, Any]:
    """Every query to its end, and what is left then."""
    open_runs = {_number(one): one for one in tl.runs(RUNS)}
    default_runner().load({"llm": llm.spec}, mail.options)
    trouble = Trouble(given.seed)
    trouble.start()

    def finish(number: int) -> str:
        found = open_runs.get(number)
        if found is None:
            try:
                mail.using(runs=RUNS)(number, f"number {number}")
                return "new"
            except tl.errors.QueryError as error:
                _note_error(error)
                found = next(one for one in tl.runs(RUNS) if _number(one) == number)
        if found.state != "finished":
            _resume(found.run.id, number)
        return "resumed"

    with ThreadPoolExecutor(AT_ONCE) as threads:
        outcomes = Counter(threads.map(finish, range(given.queries)))
    trouble.end()
    return {**outcomes, **left_at_engines(), **left_here()}


def _number(found: Any) -> int:
    args, kwargs = decode(found.run.arguments)
    return int(args[0] if args else kwargs["number"])


def _resume(run_id: str, number: int) -> None:
    for num_failed in range(MOST_RESUMES):
        try:
            tl.resume(run_id, runs=RUNS, app=mail)
            return
        except tl.errors.EffectInDoubt:
            in_doubt = "skip" if is_delivered(number) else "retry"
            tl.resume(run_id, runs=RUNS, app=mail, in_doubt=in_doubt)
            return
        except tl.errors.NodeFailed as failure:
            _note_error(failure)
            if not isinstance(failure.cause, tl.errors.EngineError):
                raise
            time.sleep(min(5.0, 0.25 * 2**num_failed))  # until an engine is there again
    raise AssertionError(f"run {run_id} fails again and again")


def _note_error(error: Exception) -> None:
    cause = error.cause if isinstance(error, tl.errors.NodeFailed) else error
    note(f"error {type(cause).__name__}")


class Trouble(threading.Thread):
    """Kills, ends, stops and slows processes of the LLM until it is told to end: by what was
    delivered and not by time, so that a slow machine comes to an end too."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="trouble", daemon=True)
        self._chance = random.Random(seed)
        self._is_over = threading.Event()

    def run(self) -> None:
        kinds, weights = list(TROUBLE), list(TROUBLE.values())
        while self._wait_for(self._chance.randint(*BETWEEN)):
            up = [one.child for one in processes() if one.is_up and isinstance(one.child, Child)]
            if up:
                (kind,) = self._chance.choices(kinds, weights)
                self._make(kind, self._chance.choice(up).pid)

    def _wait_for(self, more: int) -> bool:
        """Until so many more were delivered; False at the end."""
        wanted = num_delivered() + more
        while num_delivered() < wanted:
            if self._is_over.wait(0.02):
                return False
        return True

    def end(self) -> None:
        self._is_over.set()
        self.join()

    def _make(self, kind: str, group: int) -> None:
        note(f"trouble {kind}")
        with suppress(ProcessLookupError):  # it was replaced meanwhile
            for number, pause_s in _signals(kind):
                os.killpg(group, number)
                time.sleep(pause_s)


def _signals(kind: str) -> Iterator[tuple[int, float]]:
    """What a group of processes is sent, and the pause after it."""
    match kind:
        case "kill":
            yield signal.SIGKILL, 0.0
        case "terminate":  # it refuses requests, and ends
            yield signal.SIGTERM, 0.0
        case "stop":
            yield from ((signal.SIGSTOP, 2.0), (signal.SIGCONT, 0.0))
        case "slow":
            yield from ((signal.SIGSTOP, 0.1), (signal.SIGCONT, 0.05)) * 20
        case "hang":  # until it is replaced
            yield signal.SIGSTOP, 0.0


def processes() -> list[ProcessEngine]:
    engines = [engine for _, engine in default_runner().engines]
    routed = [each for each in engines if isinstance(each, RoutedEngine)]
    inner = [endpoint.engine for each in routed for endpoint in each.endpoints]
    return [each for each in inner if isinstance(each, ProcessEngine)]


def left_at_engines() -> dict[str, Any]:
    """Requests and KV pages that engines hold though no query runs. Each page is free or in the
    tree of prefixes."""
    deadline_s = time.monotonic() + SETTLED_S
    pages = [_settled(one, deadline_s) for one in processes()]
    return {"engines_looked_at": len(pages), "kv_pages_left": sum(map(_pages_held, pages))}


def _settled(one: ProcessEngine, deadline_s: float) -> MetricsPage:
    """What it says of itself once it is up and idle. Pages of contexts that are gone are freed at
    its next step, so it is asked for a token before."""
    while time.monotonic() < deadline_s:
        if one.is_up and isinstance(one.child, Child):
            words = psutil.Process(one.child.pid).cmdline()
            with httpx.Client(
                base_url=f"http://127.0.0.1:{words[words.index('--port') + 1]}", timeout=10.0
            ) as client:
                page = MetricsPage(client.get("/metrics").text)
                if not _num_requests(page):
                    model = client.get("/v1/models").json()["data"][0]["id"]
                    body = {"model": model, "prompt": "x", "max_tokens": 1}
                    client.post("/v1/completions", json=body).raise_for_status()
                    return MetricsPage(client.get("/metrics").text)
        time.sleep(0.2)
    raise AssertionError("an engine is not up, or not idle, though no query runs")


def _num_requests(page: MetricsPage) -> int:
    names = ("teola_num_requests_running", "teola_num_requests_waiting")
    return int(sum(page.total(name) or 0 for name in names))


def _pages_held(page: MetricsPage) -> int:
    """By anything but the tree, and the context of the token that was asked for: one page."""
    kv = {name: page.total(f"teola_kv_{name}") or 0 for name in KV_GAUGES}
    held = kv["num_pages"] - kv["free_pages"] - kv["tree_pages"]
    return int(held + kv["pinned_pages"] - kv["idle_contexts"])


def left_here() -> dict[str, Any]:
    """Tasks, threads, files, sockets and children of this process once the engines are closed."""
    runner, own = default_runner(), psutil.Process()
    runner.close()
    tasks = runner._background.submit(_tasks()).result()
    return {
        "tasks": tasks,
        "files": [each.path for each in own.open_files() if str(given.folder) in each.path],
        "sockets": len([each for each in own.net_connections() if each.status != "NONE"]),
        "children": len(own.children(recursive=True)),
        "threads": len(threading.enumerate()),
        "handles": own.num_fds(),
    }


async def _tasks() -> list[str]:
    """But for the one that asks."""
    return [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def answers() -> list[str]:
    """Of all queries, where nothing is disturbed."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        questions = [f"number {number}" for number in range(given.queries)]
        found = list(threads.map(undisturbed, questions))
    default_runner().close()
    return found


if __name__ == "__main__":
    print(json.dumps(answers() if given.undisturbed else work()))
