"""Apps whose likely branch begins before its condition is known."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

import teola as tl
from runtime.clock import now
from runtime.events import Event
from teola.errors import ConfigError
from teola.viewer.model import TraceBuilder, total_usage
from teola.viewer.waterfall import waterfall
from teola.virtual import on_virtual_clock

llm = tl.LLM("emulated:h100/llama-3.1-8b", output_tokens=60)
sent: list[str] = []


@tl.tool
def send(text: str) -> str:
    sent.append(text)
    return f"sent {text}"


@tl.tool(pure=True)
def agrees(verdict: str, is_question: bool) -> bool:
    return bool(verdict) and is_question


@tl.prompt(llm, max_tokens=60)
def judge(text: str) -> str:
    return f"Is this a question? {text}"


@tl.prompt(llm, max_tokens=60)
def answer(text: str) -> str:
    return f"Answer: {text}"


@tl.prompt(llm, max_tokens=60)
def refuse(text: str) -> str:
    return f"Refuse: {text}"


@tl.app
def ask(text: str, is_question: bool) -> str:
    is_right = agrees(judge(text), is_question)
    return tl.cond(is_right, lambda: send(answer(text)), lambda: refuse(text))


@tl.app
def only_ask(text: str, is_question: bool) -> str:
    return tl.cond(agrees(judge(text), is_question), lambda: answer(text), lambda: refuse(text))


def run_each(app: Any, num_runs: int, wrong: tuple[int, ...] = ()) -> list[tuple[str, float]]:
    """What each run gives, and its seconds; the first ones teach what is likely."""

    async def main() -> list[tuple[str, float]]:
        found = []
        for number in range(num_runs):
            began_s = now()
            text = await app.arun(f"why {number}?", number not in wrong)
            found.append((text, round(now() - began_s, 6)))
        return found

    return on_virtual_clock(main)


def test_runs_take_as_long_as_the_longer_of_condition_and_branch() -> None:
    sent.clear()
    plain = run_each(ask.using(memo=False), 10, wrong=(7,))
    sent_plainly = list(sent)
    sent.clear()
    events: list[Event] = []
    app = ask.using(memo=False, speculate=0.5, listener=events.append)
    guessed = run_each(app, 10, wrong=(7,))
    assert [text for text, _ in guessed] == [text for text, _ in plain]
    assert sent == sent_plainly
    for number, ((_, before_s), (_, after_s)) in enumerate(zip(plain, guessed, strict=True)):
        if number < 3 or number == 7:
            assert after_s == pytest.approx(before_s, rel=0.01)
        else:
            assert after_s < 0.6 * before_s
    (wrong,) = [e for e in events if e.kind == "end" and e.fields.get("wasted_tokens")]
    assert wrong.node == "cond{then}.ahead"
    assert wrong.fields["decode_tokens"] <= 60


def test_pieces_of_a_text_that_ran_ahead_are_told_in_order() -> None:
    events: list[Event] = []
    app = only_ask.using(memo=False, speculate=0.5, listener=events.append)
    texts = [text for text, _ in run_each(app, 5)]
    last = [e for e in events if e.query == events[-1].query]
    pieces = [e.fields["text"] for e in last if e.kind == "text" and "answer" in e.node]
    assert "".join(pieces) == texts[-1]
    assert len(pieces) > 1


def test_a_trace_shows_the_guess_and_counts_what_it_wasted() -> None:
    events: list[Event] = []
    app = only_ask.using(memo=False, speculate=0.5, listener=events.append)
    run_each(app, 6, wrong=(5,))
    builder = TraceBuilder()
    for event in (e for e in events if e.query == events[-1].query):
        builder(event)
    trace = builder.trace()
    usage = total_usage(trace.spans)
    assert usage.wasted_tokens > 20
    out = StringIO()
    Console(file=out, width=120).print(waterfall(trace, 120))
    assert "cond{then}.ahead" in out.getvalue()
    assert f"{usage.wasted_tokens:,} wasted" in out.getvalue()


@tl.prompt(llm, max_tokens=20)
def judge_soon(text: str) -> str:
    return f"Is this a question? {text}"


@tl.app
def ask_or_repeat(text: str, is_question: bool) -> str:
    return tl.cond(agrees(judge_soon(text), is_question), lambda: answer(text), lambda: text)


def test_a_guess_that_is_still_stopped_when_its_run_ends_says_about_what_it_wasted() -> None:
    events: list[Event] = []
    app = ask_or_repeat.using(memo=False, speculate=0.5, listener=events.append)
    run_each(app, 10, wrong=(7,))

    (last,) = [event for event in events if event.kind == "end" and _wasted(event)]
    assert last.fields["wasted_tokens"] > 20
    assert 0 < last.fields["estimated_tokens"] <= last.fields["wasted_tokens"]


def _wasted(event: Event) -> bool:
    return str(event.node).endswith("{then}.ahead") and event.fields.get("wasted_tokens", 0) > 0


def test_the_plan_says_what_of_each_branch_may_run_early() -> None:
    plan = str(ask.using(speculate=0.1).explain("why?", True))
    told = plan.partition("guesses:\n")[2].partition("\n\n")[0]
    lines = [line.strip() for line in told.splitlines()]
    assert lines[0] == "wasted at most 10% of what is of use, and one guess"
    assert [line.partition(": ")[0] for line in lines[1:]] == ["%cond{then}", "%cond{else}"]
    assert "%answer" in lines[1]
    assert "send" not in lines[1]  # an effect
    assert "guesses:" not in str(ask.explain("why?", True))


def test_no_share_no_guess() -> None:
    events: list[Event] = []
    run_each(ask.using(memo=False, listener=events.append), 6)
    assert not [event for event in events if event.node.endswith(".ahead")]


@pytest.mark.parametrize("share", [0.0, 1.5, -1])
def test_a_share_is_above_nothing_and_at_most_all(share: float) -> None:
    with pytest.raises(ConfigError, match="speculate is a share above 0"):
        ask.using(speculate=share)
