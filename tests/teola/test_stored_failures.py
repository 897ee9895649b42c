"""What was taken for a failure, what was in doubt, and what was interrupted, when a run goes on."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from runtime.run_store import writer
from runtime.run_store.database import FILE, RunDatabase
from teola.runner import AppRunner, chosen_runner, default_runner
from teola.stored_runs import EndNotKept

ROOT = Path(__file__).parent.parent.parent
made: list[str] = []
broken: set[str] = set()


def note(text: str) -> str:
    made.append(text)
    if text in broken:
        raise ValueError(f"refused {text}")
    return f"did {text}"


@tl.tool
def act(text: str) -> str:
    return note(text)


@tl.tool(retries=1)
def safe(text: str) -> str:
    return note(text)


@tl.tool(reads=True)
def look(text: str) -> str:
    return note(text)


@tl.app
def careful(text: str) -> list[str]:
    first = tl.attempt(lambda: look(text), lambda error: "nothing")
    each = tl.map(lambda name: look(name), [text, "b"], on_error="skip")
    return [first, act("middle"), tl.join(each)]


@tl.app
def risky(text: str) -> str:
    return act(text)


@tl.app
def harmless(text: str) -> str:
    return safe(text)


@pytest.fixture(autouse=True)
def _runner() -> Iterator[None]:
    made.clear()
    broken.clear()
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


def change(folder: str, statement: str) -> None:
    default_runner().run_stores.close()
    db = sqlite3.connect(Path(folder) / FILE)
    db.execute(statement)
    db.commit()
    db.close()


def test_failures_that_a_graph_took_are_taken_again(folder: str) -> None:
    broken.update(("a", "middle"))
    with pytest.raises(tl.errors.NodeFailed):
        careful.using(runs=folder)("a")
    before = len(made)
    broken.clear()
    assert tl.resume(tl.runs(folder)[0].id, runs=folder) == ["nothing", "did middle", "did b"]
    assert made[before:] == ["middle"]


def test_a_result_is_given_though_its_end_cannot_be_written(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise tl.errors.RunStoreFailed("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(RunDatabase, "end", full)
        with pytest.warns(EndNotKept, match="the disk is full"):
            assert risky.using(runs=folder)("x") == "did x"
    run_id = tl.runs(folder)[0].id
    assert tl.resume(run_id, runs=folder) == "did x"
    assert made == ["x"]


def call_often(app: Any) -> None:
    for number in range(50):
        app(f"{number} " + "long " * 2000)


def test_a_file_that_may_not_grow_fails_the_run_before_its_effect(folder: str) -> None:
    risky.using(runs=folder)("first")
    store = default_runner().run_stores.of(folder)
    pages = store.writer.do(lambda database: database.read("PRAGMA page_count")).result()[0][0]
    limit = f"PRAGMA max_page_count = {pages + 4}"
    store.writer.do(lambda database: database.read(limit)).result()
    with pytest.raises(tl.errors.RunStoreFailed, match="full; make room") as caught:
        call_often(risky.using(runs=folder))
    assert folder in str(caught.value)
    known = [run for run in tl.runs(folder) if run.num_done or run.question]
    assert len(made) == len(known), "what happened is on the disk, as done or in doubt"


def began_and_did_not_end(app: Any, folder: str) -> str:
    app.using(runs=folder)("x")
    change(folder, "UPDATE nodes SET state = 1, value = x''")
    return tl.runs(folder)[0].id


def test_an_effect_that_had_begun_stops_the_resume_until_somebody_says_more(folder: str) -> None:
    run_id = began_and_did_not_end(risky, folder)
    for _ in range(2):
        with pytest.raises(tl.errors.EffectInDoubt, match="--runs .*--in-doubt retry"):
            tl.resume(run_id, runs=folder)
    assert made == ["x"]
    assert "act" in tl.runs(folder)[0].question
    assert tl.resume(run_id, runs=folder, in_doubt="retry") == "did x"
    assert tl.resume(run_id, runs=folder) == "did x"
    assert made == ["x", "x"]


def test_a_tool_that_may_be_called_again_is(folder: str) -> None:
    run_id = began_and_did_not_end(harmless, folder)
    assert tl.resume(run_id, runs=folder) == "did x"
    assert made == ["x", "x"]


@tl.tool
def unreachable(text: str) -> str:
    raise RuntimeError("no way to https://user:sesame@host/x?api_key=sesame")


@tl.app
async def asking(text: str) -> str:
    try:
        return await tl.value(unreachable(text))
    except RuntimeError:
        return "no way"


def test_keys_in_texts_of_exceptions_are_kept_nowhere(folder: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    assert asking.using(runs=folder, trace=str(trace))("x") == "no way"
    default_runner().run_stores.close()
    files = [trace, *Path(folder).glob("runs*")]
    assert all(b"sesame" not in path.read_bytes() for path in files)
    assert tl.resume(tl.runs(folder)[0].id, runs=folder) == "no way"


SLOW = """
import time
import teola as tl

@tl.tool
def wait(x: str) -> str:
    print("waiting", flush=True)
    time.sleep(60)
    return x

@tl.app
def slow(x: str) -> str:
    return wait(x)
"""


def test_an_interrupted_command_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from teola.cli.main import main; main()"),
            *("run", "slow.py", "--x", "a", "--runs", "r"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    (run,) = tl.runs(tmp_path / "r")
    assert f"teola resume {run.id} --runs r" in said
    assert (run.state, process.returncode) == ("interrupted", 130)
    assert "began and did not end" in run.question


@dataclass
class Unset:
    x: int = field(init=False)


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("it says nothing")


STRANGE = {"unset": Unset(), "long": 10**5000}


@tl.tool
def strange(kind: str) -> Any:
    made.append(kind)
    if kind == "mute":
        raise Mute(Unset())
    return STRANGE[kind]


@tl.tool(pure=True)
def type_name(value: Any) -> str:
    return type(value).__name__


@tl.app
async def takes_strange(kind: str) -> str:
    return await tl.value(type_name(await tl.value(strange(kind))))


@pytest.mark.parametrize("kind", STRANGE)
def test_a_value_that_cannot_be_looked_through_ends_no_run(folder: str, kind: str) -> None:
    expected = type(STRANGE[kind]).__name__
    assert takes_strange(kind) == expected
    assert takes_strange.using(runs=folder)(kind) == expected
    with pytest.raises(tl.errors.EffectInDoubt):
        tl.resume(tl.runs(folder)[0].id, runs=folder)


def test_an_exception_that_cannot_be_said_ends_its_run(folder: str) -> None:
    with pytest.raises(tl.errors.QueryError):
        takes_strange.using(runs=folder)("mute")
    assert tl.runs(folder)[0].state == "failed"


@tl.tool(timeout_s=0.05)
async def late(text: str) -> str:
    note(f"late {text}")
    await asyncio.sleep(60)
    return text


@tl.tool(timeout_s=0.05, pure=True)
def late_thread(text: str) -> str:
    note(f"late {text}")
    time.sleep(0.2)
    return text


@tl.app
async def patient(text: str, is_pure: bool) -> list[str]:
    try:
        first = await tl.value(late_thread(text) if is_pure else late(text))
    except tl.errors.ToolTimeout:
        first = "sorry"
    return [await tl.value(act(f"{first} 1")), await tl.value(act(f"{first} 2"))]


@tl.app
async def impatient(text: str) -> str:
    return await tl.value(late(text))


@pytest.mark.parametrize("is_pure", [False, True])
def test_a_tool_that_took_too_long_is_given_up_again(folder: str, is_pure: bool) -> None:
    broken.add("sorry 2")
    with pytest.raises(tl.errors.NodeFailed):
        patient.using(runs=folder)("a", is_pure)
    broken.clear()
    before = len(made)
    assert tl.resume(tl.runs(folder)[0].id, runs=folder) == ["did sorry 1", "did sorry 2"]
    assert made[before:] == ["sorry 2"]


def test_an_effect_that_took_too_long_and_ended_the_run_is_in_doubt(folder: str) -> None:
    with pytest.raises(tl.errors.ToolTimeout):
        impatient.using(runs=folder)("a")
    run_id = tl.runs(folder)[0].id
    for _ in range(2):
        with pytest.raises(tl.errors.EffectInDoubt, match="late"):
            tl.resume(run_id, runs=folder)
    assert made == ["late a"]
    assert tl.resume(run_id, runs=folder, in_doubt="skip") is None


@tl.tool
async def mail(text: str) -> str:
    note(f"mail {text}")
    if not slow_mail.is_set():
        return "mailed"
    mails.set()
    await asyncio.sleep(60)
    return "never"


mails, slow_mail = threading.Event(), threading.Event()


@tl.app
async def sorry(text: str) -> str:
    try:
        return await tl.value(act(text))
    except ValueError:
        return await tl.value(mail("sorry"))


@tl.app
async def times_out(text: str) -> str:
    try:
        return await tl.value(act(text))
    except ValueError:
        if slow_mail.is_set():
            raise tl.errors.QueryTimeout("as of a time limit")  # noqa: B904 - as one does
        return "mailed"


@tl.app
async def asks(text: str) -> str:
    try:
        return await tl.value(act(text))
    except ValueError:
        return "mailed" if await tl.approve("Declined. Go on?") else "no"


async def cancelled(running: Any) -> None:
    task = asyncio.ensure_future(running)
    assert await asyncio.to_thread(mails.wait, 20)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


@pytest.mark.parametrize("how", ["cancelled", "timed out", "asks"])
def test_a_failure_that_was_taken_before_the_run_was_stopped_is_not_tried_again(
    folder: str, how: str
) -> None:
    broken.add("charge")
    mails.clear()
    slow_mail.set()
    if how == "cancelled":
        asyncio.run(cancelled(sorry.using(runs=folder).arun("charge")))
    elif how == "timed out":
        with pytest.raises(tl.errors.QueryTimeout):
            times_out.using(runs=folder)("charge")
    else:
        with pytest.raises(tl.errors.ApprovalPending):
            asks.using(runs=folder)("charge")
    slow_mail.clear()
    broken.clear()
    run_id = tl.runs(folder)[0].id
    given: dict[str, Any] = {"approve": True} if how == "asks" else {"in_doubt": "retry"}
    assert tl.resume(run_id, runs=folder, **given) == "mailed"
    assert made.count("charge") == 1


@tl.tool
def large(text: str) -> str:
    note(text)
    return text * 1000


@tl.app
async def two(text: str) -> str:
    found = await tl.value(large(text))
    return found[:1] + await tl.value(act("end"))


def test_a_value_that_no_file_takes_is_not_kept_and_harms_no_other(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MOST_VALUE_BYTES", 500)
    broken.add("end")
    with pytest.raises(tl.errors.NodeFailed, match="refused end"):
        two.using(runs=folder)("x")
    broken.clear()
    assert risky.using(runs=folder)("y") == "did y"
    run_id = next(run.id for run in tl.runs(folder) if run.state == "failed")
    with pytest.raises(tl.errors.EffectInDoubt, match="cannot be read again"):
        tl.resume(run_id, runs=folder)
    assert tl.resume(run_id, runs=folder, in_doubt="retry") == "xdid end"
    assert made == ["x", "end", "y", "x", "end"]


class Held(Exception):
    pass


@tl.tool
def absent(kind: str) -> str:
    if kind == "file":
        return Path("/nonexistent/file").read_text()
    error = Held("it is held")
    error.by = open  # type: ignore[attr-defined]
    raise error


@tl.app
async def takes_failures(kind: str) -> str:
    try:
        why = await tl.value(absent(kind))
    except OSError as error:
        why = f"{error.errno} {error.filename}"
    except Held as error:
        why = f"held: {error}"
    return await tl.value(act(await tl.value(act(why))))


@pytest.mark.parametrize("kind", ["file", "held"])
def test_what_an_app_reads_of_a_failure_is_the_same_when_it_goes_on(folder: str, kind: str) -> None:
    expected = takes_failures(kind)
    middle = made[-1]
    broken.add(middle)
    with pytest.raises(tl.errors.NodeFailed):
        takes_failures.using(runs=folder)(kind)
    broken.clear()
    before = len(made)
    assert tl.resume(tl.runs(folder)[0].id, runs=folder) == expected
    assert made[before:] == [middle]


SCRIPT = """
import os
from pathlib import Path
from pydantic import BaseModel
import teola as tl

class Order(BaseModel):
    id: int

class Declined(Exception):
    pass

@tl.tool
def order(given: Order) -> Order:
    with Path("made").open("a") as file:
        print("order", file=file)
    return Order(id=given.id + 1)

@tl.tool
def pay(what: Order) -> str:
    raise Declined(f"{what.id}")

@tl.tool(retries=0)
def ends(text: str) -> str:
    if not Path("fine").exists():
        raise ValueError("later")
    return text

@tl.app
async def shop(given: Order) -> str:
    try:
        paid = await tl.value(pay(await tl.value(order(given))))
    except Declined as error:
        paid = f"declined {error}"
    return await tl.value(ends(paid))

if __name__ == "__main__":
    shop.using(runs="r")(Order(id=3))
"""


def test_a_run_of_a_script_goes_on_by_a_command_with_its_classes(tmp_path: Path) -> None:
    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    (tmp_path / "shopping.py").write_text(SCRIPT)
    assert "later" in run("shopping.py").stderr
    (tmp_path / "fine").touch()
    (stored,) = tl.runs(tmp_path / "r")
    command = "from teola.cli.main import main; main()"
    again = run("-c", command, "resume", stored.id, "--runs", "r")
    assert "declined 4" in again.stdout, again.stderr
    assert (tmp_path / "made").read_text() == "order\n"
