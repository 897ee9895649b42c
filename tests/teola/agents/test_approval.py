"""Human approval: who is asked, and what happens then."""

import asyncio
import io
import json
from typing import Any

import numpy
import pytest

import teola as tl
from teola.errors import ApprovalNeeded

log: list[str] = []
CALL = json.dumps({"name": "send", "arguments": {"text": "hi"}})
llm = tl.LLM(
    "fake:",
    replies={
        r"<\|tool\|>not allowed": "I did not send it.",
        r"<\|tool\|>sent": "It is sent.",
        "": f"<tool_call>{CALL}</tool_call>",
    },
)


@tl.tool(approval=True)
def send(text: str) -> str:
    log.append(text)
    return "sent"


mailer = tl.Agent("mailer", llm, tools=[send])


@tl.app
async def publish(draft: str) -> str:
    return "published" if await tl.approve("Publish?", draft) else "kept"


def test_the_approver_of_the_run_is_asked_with_question_and_subject() -> None:
    asked: list[Any] = []

    def yes(question: str, subject: Any) -> bool:
        asked.append((question, subject))
        return True

    async def no(question: str, subject: Any) -> bool:
        asked.append((question, subject))
        return False

    assert publish.using(approve=yes)("a draft") == "published"
    assert publish.using(approve=no)("a draft") == "kept"
    assert asked == [("Publish?", "a draft")] * 2


@pytest.mark.parametrize(
    ("answer", "said", "sent"), [(True, "It is sent.", ["hi"]), (False, "I did not send it.", [])]
)
def test_a_tool_that_needs_approval_is_called_only_with_it(
    answer: bool, said: str, sent: list[str]
) -> None:
    asked: list[Any] = []

    def approver(question: str, subject: Any) -> bool:
        asked.append((question, subject))
        return answer

    @tl.app
    def outer(task: str) -> str:
        return mailer(task)

    for app in (mailer, outer):
        log.clear()
        assert app.using(approve=approver)("go") == said
        assert log == sent
    assert asked == [("May mailer call send?", {"text": "hi"})] * 2


def test_what_ran_before_the_question_does_not_run_again() -> None:
    @tl.tool
    def prepare(text: str) -> str:
        log.append(text)
        return text

    @tl.app
    async def both(text: str) -> bool:
        await tl.value(prepare(text))
        return await tl.approve("Go on?", text)

    log.clear()
    assert both.using(approve=lambda *_: True)("x") is True
    assert log == ["x"]


@pytest.mark.parametrize("answer", ["no", "n", "", 0, "yes", [True]])
def test_an_approver_that_answers_neither_yes_nor_no_approves_nothing(answer: Any) -> None:
    @tl.app
    async def published() -> bool:
        return await tl.approve("Publish?")

    with pytest.raises(ValueError, match=r"'Publish\?': the approver answered .* neither True nor"):
        published.using(approve=lambda *_: answer)()


@pytest.mark.parametrize(
    ("answer", "is_approved"), [(None, False), (numpy.bool_(1), True), (numpy.bool_(0), False)]
)
def test_none_is_no_and_bools_of_numpy_are_bools(answer: Any, is_approved: bool) -> None:
    @tl.app
    async def published() -> bool:
        return await tl.approve("Publish?")

    assert published.using(approve=lambda *_: answer)() is is_approved


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "said"), [("y\n", "published"), ("\n", "kept"), ("", "kept")])
def test_without_an_approver_the_terminal_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    assert publish("a draft") == said
    assert capsys.readouterr().err == "\na draft\nPublish? [y/N] "


def test_where_nobody_can_be_asked_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(ApprovalNeeded, match=r"'Publish\?' needs approval.*using\(approve="):
        publish("a draft")
    log.clear()
    with pytest.raises(ApprovalNeeded, match="'May mailer call send"):
        asyncio.run(mailer.arun("go"))
    assert log == []

    @tl.app
    def outer(task: str) -> list[str]:
        return [mailer(task)]

    @tl.app
    async def around(task: str) -> list[str]:
        return await tl.value(outer(task))

    for app in (outer, around):
        with pytest.raises(ApprovalNeeded, match="'May mailer call send") as told:
            app("go")
        assert any("test_approval.py" in note for note in told.value.__notes__)
    assert log == []
