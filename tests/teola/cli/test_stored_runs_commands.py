"""`run --runs`, `runs`, `resume` and `approve`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from teola.runner import AppRunner, chosen_runner

APP = """
import pathlib
import teola as tl

@tl.tool
def send(text: str) -> str:
    with open("sent.txt", "a") as file:
        file.write(text + "\\n")
    if not pathlib.Path("ready").exists() and text == "second":
        raise ValueError("not ready")
    return text

@tl.app
async def both(name: str = "you", *, num: int = 2) -> str:
    first = await tl.value(send("first"))
    return f"{first}, {await tl.value(send('second'))} for {name}"
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "kept.py").write_text(APP)
    runner = AppRunner()
    with chosen_runner(runner):
        yield
        runner.close()


def listed(teola: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(teola("runs", "--runs", "r", "--json").out)
    return found


def test_a_run_is_kept_shown_and_resumed(teola: Any, tmp_path: Path) -> None:
    done = teola("run", "kept.py", "--name", "ann", "--runs", "r")
    assert done.code == 1
    (run,) = listed(teola)
    assert f"teola resume {run['id']} --runs r" in done.err
    assert (run["state"], run["app"], run["done"]) == ("failed", "both", 1)
    table = teola("runs", "--runs", "r").out
    assert run["id"] in table
    assert "not ready" in table
    shown = teola("runs", run["id"], "--runs", "r").out
    assert "%0.send" in shown
    (tmp_path / "ready").touch()
    again = teola("resume", run["id"], "--runs", "r", "--quiet")
    assert (again.code, again.out) == (0, "first, second for ann\n"), again.err
    assert (tmp_path / "sent.txt").read_text() == "first\nsecond\nsecond\n"
    as_json = json.loads(teola("resume", run["id"], "--runs", "r", "--json").out)
    assert as_json["result"] == "first, second for ann"


def test_runs_are_deleted_and_pruned(teola: Any, tmp_path: Path) -> None:
    teola("run", "kept.py", "--runs", "r")
    (tmp_path / "ready").touch()
    teola("run", "kept.py", "--runs", "r")
    assert [run["state"] for run in listed(teola)] == ["finished", "failed"]
    assert "forgot 0 runs" in teola("runs", "--runs", "r", "--prune", "1").out
    assert "forgot 1 run of" in teola("runs", "--runs", "r", "--prune", "0").out
    (left,) = listed(teola)
    assert teola("runs", left["id"], "--runs", "r", "--delete").code == 0
    assert teola("runs", "--runs", "r").out.rstrip().endswith("keeps no runs")


ASKS = """
import teola as tl

@tl.tool
def send(text: str) -> str:
    return f"sent {text}"

@tl.app
async def titled(topic: str) -> str:
    title = await tl.approve("Which title?", topic, returns=str)
    return await tl.value(send(title))
"""


def test_a_value_answers_and_the_exit_code_says_that_a_run_waits(
    teola: Any, tmp_path: Path
) -> None:
    (tmp_path / "asks.py").write_text(ASKS)
    assert teola("run", "asks.py", "--topic", "tea", "--runs", "r").code == 3
    teola("run", "kept.py", "--runs", "r")
    (run,) = json.loads(teola("runs", "--runs", "r", "--state", "waiting", "--json").out)
    assert run["app"] == "titled"
    assert "keeps no such runs" in teola("runs", "--runs", "r", "--app", "none").out
    shown = json.loads(teola("runs", run["id"][:6], "--runs", "r", "--json").out)
    (asked,) = shown["questions"]
    assert (asked["question"], asked["answer"]) == ("Which title?", {"type": "string"})
    wrong = teola("approve", run["id"], "--runs", "r")
    assert (wrong.code, "asks for an answer" in wrong.err) == (1, True)
    assert teola("approve", run["id"], "--runs", "r", "--value", "no json").code == 2
    words = ("--value", '"Green"', "--question", asked["id"])
    done = teola("approve", run["id"][:6], "--runs", "r", *words)
    assert (done.code, done.out) == (0, "sent Green\n"), done.err
    assert "1 primitive restored, 1 run" in done.err


def test_a_run_shows_who_answered(teola: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "asks.py").write_text(ASKS)
    monkeypatch.setenv("LOGNAME", "bob")
    ids = []
    for words in (("--by", "Ann Lee"), ()):
        assert teola("run", "asks.py", "--topic", "tea", "--runs", "r").code == 3
        (run,) = json.loads(teola("runs", "--runs", "r", "--state", "waiting", "--json").out)
        assert teola("approve", run["id"], "--runs", "r", "--value", '"Green"', *words).code == 0
        ids.append(run["id"])
    given = [json.loads(teola("runs", each, "--runs", "r", "--json").out) for each in ids]
    said = [(each["by"], each["value"]) for run in given for each in run["answered"]]
    assert said == [("Ann Lee", "Green"), ("bob", "Green")]
    assert 'by Ann Lee: Which title?: "Green"' in teola("runs", ids[0], "--runs", "r").out
    assert "a name is 1 to 200" in teola("approve", ids[0], "--runs", "r", "--by", "a\nb").err


def test_runs_are_listed_page_by_page(teola: Any, tmp_path: Path) -> None:
    for _ in range(3):
        teola("run", "kept.py", "--runs", "r")
    (tmp_path / "ready").touch()
    for _ in range(2):
        teola("run", "kept.py", "--runs", "r")
    ids = [run["id"] for run in listed(teola)]

    def page(*words: str) -> list[str]:
        found = json.loads(teola("runs", "--runs", "r", "--json", *words).out)
        return [run["id"] for run in found]

    assert page("--limit", "2") == ids[:2]
    assert page("--limit", "2", "--after", ids[1][:8]) == ids[2:4]
    assert page("--after", ids[3]) == ids[4:]
    assert page("--state", "failed", "--limit", "2") == ids[2:4]
    assert page("--state", "failed", "--after", ids[3], "--app", "both") == ids[4:]
    assert "are for lists alone" in teola("runs", ids[0], "--runs", "r", "--limit", "2").err
    assert "there is no run" in teola("runs", "--runs", "r", "--after", "x").err
    assert teola("runs", "--runs", "r", "--limit", "0").code == 2
    assert teola("runs", "--runs", "r", "--prune", "-1").code == 2


def test_wrong_words_are_said(teola: Any) -> None:
    assert "there is no run 'xyz'" in teola("resume", "xyz", "--runs", "r").err
    assert "there is no run 'xyz'" in teola("approve", "xyz", "--runs", "r").err
    assert "--delete needs the ID" in teola("runs", "--runs", "r", "--delete").err
    assert "--state is running, waiting" in teola("runs", "--runs", "r", "--state", "odd").err
    assert "--in-doubt is stop, retry, skip" in teola("resume", "x", "--in-doubt", "no").err


ORDERED = """
import teola as tl
llm = tl.LLM("fake:")

@tl.prompt(llm, max_tokens=5)
def say(text: str) -> str:
    return text

@tl.app(objective="throughput")
async def asks(topic: str) -> str:
    await tl.approve("Go on?")
    return await tl.value(say(topic))
"""


@pytest.mark.parametrize("policy", ["least_slack", None])
def test_the_commands_show_and_keep_the_order(
    teola: Any, tmp_path: Path, policy: str | None
) -> None:
    (tmp_path / "ordered.py").write_text(ORDERED)
    words = ("--policy", policy, "--deadline", "100") if policy else ()
    assert teola("run", "ordered.py", "--topic", "tea", "--runs", "r", *words).code == 3
    (run,) = json.loads(teola("runs", "--runs", "r", "--json").out)
    assert (run["objective"], run["policy"]) == ("throughput", policy or "")
    assert (run["due"] is None) == (policy is None)
    shown = teola("runs", run["id"], "--runs", "r").out
    assert "objective throughput" in shown
    assert ("due       20" in shown) == (policy is not None)
    done = teola("approve", run["id"], "--runs", "r")  # no warning of an option that nobody reads
    assert (done.code, "changes nothing" in done.err) == (0, False)
