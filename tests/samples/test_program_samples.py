"""The samples that are programs: on a scripted model, and on the real one."""

from typing import Any

import pytest

import teola as tl
from runtime.events import Event
from samples import chat, tree_of_thought

PROGRAMS: dict[str, "tl.App[..., Any]"] = {
    "chat": chat.chat,
    "tree_of_thought": tree_of_thought.solve,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_says_in_its_docstring_how_it_is_run(name: str) -> None:
    module = __import__(f"samples.{name}", fromlist=["__doc__"])
    assert f"run-graph samples/{name}.py:{PROGRAMS[name].name}" in module.__doc__


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_answers_alike_optimised_and_plain_on_a_fake_engine(name: str) -> None:
    app = PROGRAMS[name].using(engines={"llm": "fake:"})
    assert app() == app.using(optimize=False)()


def test_a_conversation_goes_on_from_all_that_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = {
        r"planet\.<\|assistant\|>$": "Mars",
        r"Mars<\|user\|>Is it larger than the Earth\?<\|assistant\|>$": "No",
        r"Mars.*No<\|user\|>Write one.*<\|assistant\|>$": "Mars is red.",
    }
    monkeypatch.setattr(chat.llm, "spec", tl.LLM("fake:", replies=replies).spec)
    assert chat.chat() == ["Mars", "No", "Mars is red."]


def test_the_best_way_gives_the_answer() -> None:
    assert tree_of_thought.best(["a", "b", "c"], [[-2.0, -1.0], [-1.0, -2.0], [-1, -1]]) == "b"


@pytest.mark.model
def test_the_ways_share_the_problem_and_each_turn_reads_what_is_new() -> None:
    heard: list[Event] = []
    solve = tree_of_thought.solve.using(memo=False)
    answer = solve.using(listener=heard.append)()
    assert answer == solve.using(optimize=False)()
    computed = sum(e.fields.get("prefill_tokens", 0) for e in heard if e.kind == "end")
    assert computed < 250  # one way by itself reads 110


@pytest.mark.model
def test_a_conversation_on_the_real_model_reads_each_text_once() -> None:
    heard: list[Event] = []
    talk = chat.chat.using(memo=False)
    answers = talk.using(listener=heard.append)(["Name a planet.", "Is it larger than the Earth?"])
    assert len(answers) == 2
    assert all(answers)
    assert talk.using(optimize=False)(["Name a planet.", "Is it larger than the Earth?"]) == answers
    second = [e for e in heard if e.kind == "end" and e.node.startswith("answer_1")]
    assert sum(e.fields.get("prefill_tokens", 0) for e in second) <= 30
