"""Approvals that outlive the process which asks for them."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

import teola as tl
from runtime.errors import WrongAnswer
from teola.runner import AppRunner, chosen_runner

ROOT = Path(__file__).parent.parent.parent
llm = tl.LLM("fake:")
made: list[str] = []


@tl.tool
def send(text: str) -> str:
    """Send a text."""
    made.append(text)
    return f"sent {text}"


@tl.tool(approval=True)
def pay(who: str) -> str:
    """Pay somebody."""
    made.append(f"pay {who}")
    return f"paid {who}"


@tl.app
async def news(topic: str) -> str:
    draft = await tl.value(send(f"draft of {topic}"))
    if await tl.approve("Publish?", draft):
        return await tl.value(send("published"))
    return "kept"


@tl.app
def papers(topics: list[str]) -> list[str]:
    return tl.map(news, topics)


clerk = tl.Agent("clerk", llm, tools=[send, pay])


@tl.app
def office(task: str) -> list[str]:
    return [clerk(task)]


def reply(prompt: str) -> str:
    call = tl.fake.tool_call
    if "paid ann" in prompt:
        return "done"
    return "refused" if "not allowed" in prompt else call("send", text="x") + call("pay", who="ann")


@pytest.fixture(autouse=True)
def _runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made.clear()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # nobody is there
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


@pytest.mark.parametrize(("answer", "result"), [(True, "sent published"), (False, "kept")])
def test_a_run_waits_on_the_disk_for_its_answer(folder: str, answer: bool, result: str) -> None:
    with pytest.raises(tl.errors.ApprovalPending, match="teola approve") as caught:
        news.using(runs=folder)("rain")
    (run,) = tl.runs(folder)
    assert caught.value.run == run.id
    assert (run.state, run.question) == ("waiting", "Publish?: sent draft of rain")
    assert tl.resume(run.id, runs=folder, approve=answer) == result
    assert made.count("draft of rain") == 1
    assert tl.runs(folder)[0].state == "finished"


def test_a_run_that_is_not_answered_goes_on_waiting(folder: str) -> None:
    with pytest.raises(tl.errors.ApprovalPending):
        news.using(runs=folder)("rain")
    run_id = tl.runs(folder)[0].id
    with pytest.raises(tl.errors.ApprovalPending):
        tl.resume(run_id, runs=folder)
    assert tl.runs(folder)[0].state == "waiting"
    assert made == ["draft of rain"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_run_that_asked_nobody_goes_on_at_a_terminal(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(tl.errors.ApprovalPending):
        news.using(runs=folder)("rain")
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert tl.resume(tl.runs(folder)[0].id, runs=folder) == "sent published"
    assert made == ["draft of rain", "published"]


@tl.app
async def titled(drafts: list[str]) -> str:
    title = await tl.approve("Which title?", drafts, returns=str)
    num = await tl.approve("How many?", returns=Annotated[int, Field(le=9)])
    return f"{num} of {await tl.value(send(title))}"


def test_an_answer_may_be_a_value_and_one_that_is_not_valid_is_asked_for_again(
    folder: str,
) -> None:
    with pytest.raises(tl.errors.ApprovalPending):
        titled.using(runs=folder)(["a", "b"])
    run_id = tl.runs(folder)[0].id
    with pytest.raises(tl.errors.WrongAnswer, match="JSON's type string, not true"):
        tl.resume(run_id, runs=folder, approve=True)
    with pytest.raises(tl.errors.ApprovalPending, match="How many"):
        tl.resume(run_id, runs=folder, approve="b")
    with pytest.raises(tl.errors.ApprovalPending, match="How many.*12 is not valid.*less than"):
        tl.resume(run_id, runs=folder, approve=12)
    assert tl.resume(run_id, runs=folder, approve=7) == "7 of sent b"
    assert made == ["b"]


def test_a_value_is_given_by_a_function_or_at_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: dict[str, object] = {"Which title?": "x", "How many?": 3}
    assert titled.using(approve=lambda question, _: answers[question])(["x"]) == "3 of sent x"
    answers["How many?"] = "many"
    with pytest.raises(ValueError, match="'many' is not valid"):
        titled.using(approve=lambda question, _: answers[question])(["x"])
    monkeypatch.setattr("sys.stdin", Terminal("a title\n12\n4\n"))
    assert titled(["x"]) == "4 of sent a title"


def test_an_approver_that_goes_is_asked_again_and_one_that_answered_is_not(folder: str) -> None:
    asked: list[str] = []

    def gone(question: str, subject: object) -> bool:
        asked.append(question)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return True

    app = news.using(runs=folder, approve=gone)
    with pytest.raises(tl.errors.ALL):
        app("rain")
    run_id = tl.runs(folder)[0].id
    assert tl.resume(run_id, runs=folder, app=app) == "sent published"
    assert tl.resume(run_id, runs=folder, app=app) == "sent published"
    assert asked == ["Publish?"] * 2


@pytest.mark.parametrize("app", [clerk, office])
def test_an_agents_tool_waits_and_its_other_calls_are_not_made_again(
    folder: str, app: "tl.App[[str], object]"
) -> None:
    with tl.fake(llm, reply), pytest.raises(tl.errors.ApprovalPending, match="May clerk call pay"):
        app.using(runs=folder)("go")
    (run,) = tl.runs(folder)
    assert run.state == "waiting"
    assert made == ["x"]
    with tl.fake(llm, reply):
        found = tl.resume(run.id, runs=folder, approve=True)
    assert found in ("done", ["done"])
    assert made == ["x", "pay ann"]


def test_items_that_wait_in_turn_have_their_own_effects_though_they_are_equal(folder: str) -> None:
    with pytest.raises(tl.errors.ApprovalPending):
        papers.using(runs=folder)(["a", "b", "c"])
    run_id = tl.runs(folder)[0].id
    for answer in (True, False):
        with pytest.raises(tl.errors.ApprovalPending):
            tl.resume(run_id, runs=folder, approve=answer)
    found = tl.resume(run_id, runs=folder, approve=True)
    assert found == ["sent published", "kept", "sent published"]
    assert made == ["draft of a", "published", "draft of b", "draft of c", "published"]


def test_what_does_not_wait_cannot_be_answered(folder: str) -> None:
    with pytest.raises(tl.errors.ApprovalPending):
        news.using(runs=folder)("rain")
    run_id = tl.runs(folder)[0].id
    tl.resume(run_id, runs=folder, approve=True)
    with pytest.raises(tl.errors.RunNotFound, match="waits for no approval"):
        tl.resume(run_id, runs=folder, approve=True)


APP = """
import teola as tl

@tl.tool
def send(text: str) -> str:
    with open("sent.txt", "a") as file:
        file.write(text + "\\n")
    return text

@tl.app
async def news(topic: str, num: int = 2) -> str:
    draft = await tl.value(send("draft"))
    return await tl.value(send(topic)) if await tl.approve("Publish?", draft) else "kept"
"""


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    main = "from teola.cli.main import main; main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TEOLA_RUNS": str(folder / "runs")}
    return subprocess.run(
        [sys.executable, "-c", main, *words],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_process_asks_and_another_answers(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    asked = command(tmp_path, "run", "app.py", "--topic", "rain")
    assert asked.returncode == 3
    assert "waits for approval: 'Publish?'" in asked.stderr
    (run,) = tl.runs(tmp_path / "runs")
    assert f"teola approve {run.id}" in asked.stderr
    answered = command(tmp_path, "approve", run.id)
    assert (answered.returncode, answered.stdout) == (0, "rain\n"), answered.stderr
    assert (tmp_path / "sent.txt").read_text() == "draft\nrain\n"


@tl.app
async def sorry(task: str) -> str:
    try:
        allowed = await tl.approve("Go?", task)
    except Exception:  # the test is what this takes
        allowed = True
    return await tl.value(send("behind")) if allowed else "no"


def test_nothing_runs_behind_a_question_whatever_the_app_catches(tmp_path: Path) -> None:
    made.clear()
    with pytest.raises(tl.errors.ApprovalPending):
        sorry.using(runs=str(tmp_path))("x")
    (run,) = tl.runs(str(tmp_path))
    assert (run.state, made) == ("waiting", [])
    assert tl.resume(run.id, approve=False, runs=str(tmp_path)) == "no"
    assert made == []


class Title(BaseModel):
    text: str


def asking(wanted: Any) -> Any:
    async def titled(topic: str) -> str:
        return repr(await tl.approve("Which?", topic, returns=wanted))

    return tl.app(titled)


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (Title, Title(text="Green")),
        (list[Title], [Title(text="Green")]),
        (date, date(2026, 1, 2)),
        (tuple[int, str], (1, "a")),
        (set[int], {1, 2}),
        (bytes, b"a\xff"),
    ],
)
def test_an_answer_may_be_of_the_type_itself(tmp_path: Path, wanted: Any, value: Any) -> None:
    titled = asking(wanted)
    with pytest.raises(tl.errors.ApprovalPending):
        titled.using(runs=str(tmp_path))("tea")
    run_id = tl.runs(tmp_path)[0].id
    with pytest.raises(WrongAnswer, match="cannot be kept"):
        tl.resume(run_id, runs=tmp_path, app=titled, approve=object())
    assert tl.resume(run_id, runs=tmp_path, app=titled, approve=value) == repr(value)


def test_a_wrong_answer_of_another_class_is_said(tmp_path: Path) -> None:
    titled = asking(int)
    with pytest.raises(tl.errors.ApprovalPending):
        titled.using(runs=str(tmp_path))("tea")
    with pytest.raises(WrongAnswer, match=r"of JSON's type integer, not \{\"text\": \"Green\"\}"):
        tl.resume(tl.runs(tmp_path)[0].id, runs=tmp_path, app=titled, approve=Title(text="Green"))
