"""Choosing one of some texts: on the fake model, which replies by a script, and in its plans."""

from typing import Any, Literal

import pytest

import teola as tl
from runtime.events import Event
from teola.errors import GraphError, NodeFailed, TraceError
from teola.runner import default_runner

llm = tl.LLM(
    "fake:",
    replies={
        r"colour\?<\|assistant\|>$": "blue",
        r"related\?<\|assistant\|>$": "no",
        r"blue.*Sure\?<\|assistant\|>$": "yes",
    },
)
both_ways = pytest.mark.parametrize("optimize", [True, False])
COLOURS = ["red", "blue"]


@tl.program(llm)
def sure(s: tl.State, question: str) -> tl.State:
    s += tl.user(question)
    s += tl.assistant(tl.select("colour", choices=COLOURS))
    s += tl.user("Sure?")
    s += tl.assistant(tl.select("sure", ["yes", "no"]))
    s += tl.user("Why?")
    s += tl.gen("why", max_tokens=4)
    return s


@both_ways
@pytest.mark.parametrize("engine", ["fake:", "fake:sglang", "fake:vllm", "fake:api"])
def test_a_conversation_goes_on_behind_the_choice(engine: str, optimize: bool) -> None:
    scripted = sure.using(optimize=optimize)
    assert scripted("A colour?").variables["sure"] == "yes"
    other = sure.using(optimize=optimize, engines={"llm": engine}, memo=False)
    plain = sure.using(optimize=False, engines={"llm": engine}, memo=False)
    assert other("Which one?") == plain("Which one?")


@tl.app
def pick(question: str, choices: list[str]) -> str:
    return tl.select(llm, question, choices)


@both_ways
def test_a_prompt_alone_is_answered_by_a_choice(optimize: bool) -> None:
    assert pick.using(optimize=optimize)("A colour?", COLOURS) == "blue"
    assert tl.select(llm, "A colour?", COLOURS) == "blue"
    assert tl.select(llm, [tl.Message("user", "A colour?")], COLOURS, score="sum") == "blue"


def test_an_async_app_picks_its_way() -> None:
    @tl.app
    async def route(question: str) -> str:
        kind = await tl.value(tl.select(llm, f"{question} Is it related?", ["yes", "no"]))
        return "refused" if kind == "no" else "answered"

    assert route("x") == "refused"
    assert route.using(optimize=False)("x") == "refused"


def test_each_choice_has_a_score_in_their_order() -> None:
    @tl.program(llm)
    def scored(s: tl.State, question: str) -> tuple[str, list[float]]:
        s += tl.user(question)
        s += tl.select("colour", choices=COLOURS)
        return s["colour"], s.scores("colour")

    assert scored("A colour?") == ("blue", [-2.0, -0.5])


def test_choices_are_scored_behind_one_context_which_is_given_back() -> None:
    heard: list[Event] = []
    sure.using(listener=heard.append)("A colour?")
    ends = [event for event in heard if event.kind == "end" and event.op == "select"]
    assert [event.fields["prefill_tokens"] for event in ends] == [2, 2]  # a word a choice
    runner: Any = default_runner()
    assert runner._runtime.scheduler("llm", llm.spec).engine.num_live_contexts == 0


def test_an_engine_that_scores_no_texts_writes_one_of_them() -> None:
    plan = sure.using(engines={"llm": "fake:api"}).plan("x").after
    assert not any(node.op == "select" for node in plan.nodes)
    held = [node.attrs["choices"] for node in plan.nodes if "choices" in node.attrs]
    assert held == [COLOURS, ["yes", "no"]]


def test_what_such_an_engine_cannot_do_is_said_before_it_runs() -> None:
    with pytest.raises(GraphError, match="cannot score texts, and its choices come"):
        pick.using(engines={"llm": "fake:api"})("A colour?", COLOURS)


@pytest.mark.parametrize("choices", [[], "yes", ["yes", ""], None])
def test_choices_are_texts(choices: Any) -> None:
    with pytest.raises(TraceError, match="needs choices=, a list of texts"):
        tl.select(llm, "Is it?", choices)


def test_a_score_is_of_a_kind_that_there_is() -> None:
    with pytest.raises(TraceError, match="'mean' or 'sum', not 'best'"):
        tl.select(llm, "Is it?", ["yes"], score="best")  # type: ignore[call-overload]


def test_only_a_select_has_scores() -> None:
    def program(s: tl.State) -> list[float]:
        s += tl.user("x")
        s += tl.gen("written")
        return s.scores("written")

    with pytest.raises(TraceError, match=r"only a tl\.select has scores"):
        tl.program(llm)(program)()


def test_a_select_outside_of_a_program_says_where_it_belongs() -> None:
    with pytest.raises(TraceError, match=r"@tl\.program\(llm\)"):
        tl.select("x", ["yes", "no"])


@pytest.mark.model
def test_the_model_finds_the_likelier_text_and_writes_nothing() -> None:
    model, heard = tl.LLM("local:smollm2-135m", kv_tokens=2048), list[Event]()

    @tl.program(model)
    def program(s: tl.State, question: str) -> tuple[str, list[float]]:
        s += question
        s += tl.select("next", choices=[" Paris", " potato"])
        return s["next"], s.scores("next")

    text, scores = program.using(listener=heard.append)("The capital of France is")
    assert (text, scores[0] > scores[1]) == (" Paris", True)
    assert program.using(optimize=False)("The capital of France is")[0] == text
    assert sum(event.fields.get("decode_tokens", 0) for event in heard if event.kind == "end") == 0


def test_a_list_of_choices_that_turns_out_empty_fails_the_program() -> None:
    @tl.program(llm)
    def pick(s: tl.State, names: list[str]) -> str:
        s += tl.user("A colour?")
        s += tl.select("colour", choices=names)
        return s["colour"]

    with pytest.raises(NodeFailed, match=r"%colour .*a list of one string or more"):
        pick([])


@pytest.mark.parametrize("score", ["mean", "sum"])
def test_how_choices_are_scored_stands_in_the_plan(score: Literal["mean", "sum"]) -> None:
    @tl.app
    def pick() -> str:
        return tl.select(llm, "A colour?", COLOURS, score=score)

    (node,) = [node for node in pick.graph().nodes if node.op == "select"]
    assert node.attrs.get("score", "mean") == score
