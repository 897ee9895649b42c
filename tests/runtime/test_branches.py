"""Branches that begin before they are chosen: when, what becomes of them, and what they cost."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from conftest import World
from programs_as_graphs import Functions, programs, speeds

from graph_opt.pipeline import optimize
from graph_opt.plain import as_written
from graph_opt.text import parse
from runtime.branch_history import BranchHistory
from runtime.clock import run_virtual
from runtime.errors import QueryTimeout
from runtime.guess_budget import NOTHING, Cost, Spending

Worlds = Callable[..., Any]

ASK = """\
graph g {
  %x = input [type="str"]
  %is = call %x [engine="calls", fn="slow", pure=true]
  %a = cond %is %x {
    %y = input [type="str"]
    %c0 = context [engine="llm"]
    %t, %c = decode %c0 "yes" %y [engine="llm"]
    %s = call %t [engine="tools", fn="send"]
    return %s
  } else {
    %y = input [type="str"]
    return %y
  }
  return %a
}"""


class Certain(BranchHistory):
    """Guesses this branch, always where costs allow it."""

    def __init__(self, branch: int) -> None:
        super().__init__()
        self._branch = branch

    def likely(self, app: str, path: str) -> int | None:
        return self._branch

    def most(self, app: str, path: str) -> Cost | None:
        return NOTHING


def guessing(branch: int = 0, **options: Any) -> tuple[World, Spending]:
    w = World(llm={"token_s": 0.1, "decode_parts": True, **options.pop("llm", {})}, **options)
    w.runtime._choices = Certain(branch)
    return w, w.runtime.spendings.of("g")


def ask(w: World, is_yes: bool, sent: list[str], **options: Any) -> Any:
    symbols = {"slow": lambda _: is_yes, "send": lambda text: sent.append(text) or text}
    (result,) = w.run_all(ASK, inputs={"x": "why?"}, symbols=symbols, speculate=0.5, **options)
    return result


def seconds(w: World) -> float:
    return w.log.events[-1].t


def test_the_branch_that_is_chosen_takes_what_ran_ahead() -> None:
    w, spent = guessing(calls={"latency_s": 2.0})
    sent: list[str] = []
    (text,) = ask(w, True, sent)
    assert sent == [text]
    assert seconds(w) == 2.0  # the text took less, and was there
    assert spent.wasted == NOTHING
    assert w.num_live_contexts == 0


def test_a_text_that_is_not_finished_is_waited_for() -> None:
    w, _ = guessing(calls={"latency_s": 0.1}, llm={"token_s": 0.5})
    plain = World(calls={"latency_s": 0.1}, llm={"token_s": 0.5, "decode_parts": True})
    assert ask(w, True, []) == ask(plain, True, [])
    assert seconds(w) == pytest.approx(seconds(plain) - 0.1)


def test_a_branch_begins_without_what_only_others_read() -> None:
    text = ASK.replace("%a = cond %is %x {", "%a = cond %is %x %is {")
    text = text.replace(
        'type="str"]\n    %c0', 'type="str"]\n    %late = input [type="str"]\n    %c0'
    )
    text = text.replace(
        'type="str"]\n    return', 'type="str"]\n    %late = input [type="str"]\n    return'
    )
    w, _ = guessing(calls={"latency_s": 2.0})
    symbols = {"slow": lambda _: True, "send": lambda text: text}
    assert w.run_all(text, inputs={"x": "why?"}, symbols=symbols, speculate=0.5)
    assert seconds(w) == 2.0


def test_an_effect_waits_for_the_condition_and_a_wrong_guess_has_none() -> None:
    w, spent = guessing(calls={"latency_s": 2.0})
    sent: list[str] = []
    assert ask(w, False, sent) == ["why?"]
    assert sent == []
    (ended,) = [e for e in w.log.events if e.kind == "end" and e.node == "a{then}.ahead"]
    assert ended.fields["wasted_tokens"] == spent.wasted.tokens > 0
    assert w.num_live_contexts == 0


def test_a_wrong_guess_that_still_runs_is_stopped() -> None:
    w, _ = guessing(calls={"latency_s": 0.2}, llm={"token_s": 5.0})
    assert ask(w, False, []) == ["why?"]
    assert seconds(w) == pytest.approx(0.2)
    assert w.num_live_contexts == 0


def test_a_query_that_ends_early_stops_its_guesses() -> None:
    w, _ = guessing(calls={"latency_s": 5.0}, llm={"token_s": 0.01})
    assert isinstance(ask(w, True, [], timeout_s=1.0), QueryTimeout)
    assert w.num_live_contexts == 0


def test_a_guess_that_fails_is_as_if_it_had_not_been_made() -> None:
    w, _ = guessing(calls={"latency_s": 0.2}, llm={"fail": {"decode": "no"}})
    plain = World(calls={"latency_s": 0.2}, llm={"fail": {"decode": "no"}, "decode_parts": True})
    assert str(ask(w, True, [])) == str(ask(plain, True, []))


def test_nothing_is_guessed_while_the_engine_has_no_room() -> None:
    w, _ = guessing(calls={"latency_s": 2.0})
    scheduler = w.runtime.scheduler("llm", w.specs["llm"])
    type(scheduler).num_jobs, real = property(lambda _: 9), type(scheduler).num_jobs  # type: ignore[method-assign, assignment]
    try:
        ask(w, True, [])
    finally:
        type(scheduler).num_jobs = real  # type: ignore[method-assign]
    assert not [event for event in w.log.events if event.node.endswith(".ahead")]


def test_a_guess_that_was_right_is_no_longer_behind_all_others() -> None:
    w, _ = guessing(calls={"latency_s": 0.1}, llm={"token_s": 0.5})
    engine = w.runtime.scheduler("llm", w.specs["llm"]).engine
    seen: list[Any] = []
    execute = engine.execute

    async def noted(requests: Any) -> Any:
        seen.extend((request, request.place.is_guess) for request in requests)
        return await execute(requests)

    with patch.object(engine, "execute", noted):
        ask(w, True, [])
    ((request, was_guess),) = [each for each in seen if each[0].op == "decode"]
    assert was_guess
    assert not request.place.is_guess


def test_a_guess_gives_its_slot_to_what_somebody_waits_for() -> None:
    w, _ = guessing(calls={"latency_s": 2.0}, llm={"token_s": 0.5, "num_slots": 1})
    late = """graph late {
      %x = input [type="str"]
      %go = call %x [engine="tools", fn="send"]
      %c0 = context [engine="llm"]
      %t, %c = decode %c0 "now" %go [engine="llm"]
      return %t
    }"""
    w.specs["tools"] = replace(w.specs["tools"], options={"latency_s": 0.6})

    async def main() -> list[Any]:
        symbols = {"slow": lambda _: True, "send": lambda text: text}
        runs = (
            w.run(text, {"x": "why " * 9}, symbols, **options)
            for text, options in ((ASK, {"speculate": 0.5}), (late, {}))
        )
        results = await asyncio.gather(*runs)
        await w.runtime.close()
        return results

    assert len(run_virtual(main())) == 2
    decodes = [e for e in w.log.events if e.kind == "start" and e.op == "decode"]
    assert decodes[0].t == 1.0  # the guess, of ten tokens, stops at the end of one
    assert w.num_live_contexts == 0


def test_pure_tools_of_a_wrong_guess_are_counted_in_seconds() -> None:
    w, spent = guessing(calls={"latency_s": 3.0}, tools={"latency_s": 2.0})
    text = ASK.replace('fn="send"', 'fn="send", pure=true')
    symbols = {"slow": lambda _: False, "send": lambda text: text}
    w.run_all(text, inputs={"x": "why?"}, symbols=symbols, speculate=0.5)
    (ended,) = [e for e in w.log.events if e.kind == "end" and e.node == "a{then}.ahead"]
    assert ended.fields["wasted_s"] == pytest.approx(spent.wasted.seconds) == 2.0
    assert spent.useful.seconds == 3.0


def test_a_tool_that_is_stopped_is_counted_and_no_guess_stays_open() -> None:
    for memo in (False, True):
        w, spent = guessing(calls={"latency_s": 1.0}, tools={"latency_s": 5.0})
        text = ASK.replace('fn="send"', 'fn="send", pure=true')
        symbols = {"slow": lambda _: False, "send": lambda text: text}
        w.run_all(text, inputs={"x": "why?"}, symbols=symbols, speculate=0.5, memo=memo)
        assert not spent.open
        assert 0 < spent.wasted.seconds < 2.0


def test_a_run_that_is_recorded_does_not_guess() -> None:
    w, _ = guessing(calls={"latency_s": 2.0})
    ask(w, True, [], record=lambda *_: None)
    assert not [event for event in w.log.events if event.node.endswith(".ahead")]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(text=programs(), options=speeds(), branch=st.sampled_from([0, 1]))
def test_with_guesses_a_program_ends_the_same_with_the_same_effects(
    text: str, options: dict[str, Any], branch: int
) -> None:
    graph = str(optimize(as_written(parse(text))))

    def outcome(**more: Any) -> tuple[str, list[str]]:
        w, functions = World(**options), Functions()
        w.runtime._choices = Certain(branch)
        with patch.object(Spending, "may_begin", return_value=True):
            (result,) = w.run_all(graph, inputs={"x": "x"}, symbols=functions.symbols, **more)
        assert w.num_live_contexts == 0
        return repr(result), functions.done

    assert outcome(speculate=1.0) == outcome()


def test_a_branch_is_likely_once_it_was_taken_often() -> None:
    history = BranchHistory()
    for number in range(20):
        likely = history.likely("app", "m[3].c")
        assert likely is (None if number < 3 else 0)
        history.note("app", f"m[{number}].c", 0)
    for _ in range(2):
        history.note("app", "m[0].c", 1)
    assert history.likely("app", "m[0].c") is None
    for _ in range(10):
        history.note("app", "m[0].c", 1)
    assert history.likely("app", "m[0].c") == 1
    assert history.likely("another", "m[0].c") is None
