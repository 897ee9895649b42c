"""Group chats and debates: one transcript, which each model reads once."""

from itertools import pairwise
from typing import Any

import pytest

import teola as tl
from runtime.events import Event
from teola.errors import DefinitionError, QueryTimeout, TraceError

SPOKEN = {
    r"(?s)ann speaks next\..*<\|assistant\|>$": "tea is warm",
    r"(?s)bob: .*bob speaks next\..*<\|assistant\|>$": "coffee again",
    r"(?s)bob speaks next\..*<\|assistant\|>$": "coffee is strong",
    r"(?s)ann: tea.*bob: coffee is.*(jo speaks|over).*<\|assistant\|>$": "tea wins",
}
llm = tl.LLM("fake:", replies=SPOKEN)
ann = tl.Agent("ann", llm, instructions="You like tea.", description="knows tea")
bob = tl.Agent("bob", llm, instructions="You like coffee.")
jo = tl.Agent("jo", llm, instructions="Be fair.")
both_ways = pytest.mark.parametrize("optimize", [True, False])


def prefilled(team: Any, task: str) -> int:
    """The words that all prefills of a run read."""
    events: list[Event] = []
    team.using(listener=events.append, memo=False)(task)
    ends = [event.fields for event in events if event.kind == "end"]
    return sum(fields.get("prefill_tokens", 0) for fields in ends)


@both_ways
def test_speakers_take_turns_and_read_what_was_said(optimize: bool) -> None:
    team = tl.teams.group_chat(ann, bob, rounds=2).using(optimize=optimize)
    assert list(map(str, team("Tea or coffee?"))) == [
        "ann: tea is warm",
        "bob: coffee is strong",
        "ann: tea is warm",
        "bob: coffee again",
    ]


@both_ways
def test_a_debate_is_judged_by_one_who_has_read_it(optimize: bool) -> None:
    team = tl.teams.debate(ann, bob, judge=jo).using(optimize=optimize)
    assert team("Tea or coffee?") == "tea wins"


def test_a_debate_without_a_judge_gives_its_lines() -> None:
    lines = tl.teams.debate(ann, bob, rounds=1)("Tea or coffee?")
    assert lines == [tl.teams.Line("ann", "tea is warm"), tl.teams.Line("bob", "coffee is strong")]


def test_a_function_may_make_the_answer_of_a_conversation() -> None:
    team = tl.teams.group_chat(ann, bob, rounds=1, merge=lambda lines: lines[-1].speaker)
    assert team("Tea or coffee?") == "bob"


def test_a_conversation_in_order_is_one_graph_that_reads_each_line_once() -> None:
    graph = tl.teams.group_chat(ann, bob, rounds=2).graph()
    lines = [line for line in str(graph).splitlines() if 'ann:" @sp' in line or 'bob:" @sp' in line]
    assert len(lines) == 3  # nobody reads the last one


@both_ways
def test_a_long_transcript_is_read_once_however_many_speak(optimize: bool) -> None:
    task = "word " * 500
    team = tl.teams.group_chat(ann, bob, jo, rounds=3).using(optimize=optimize)
    assert prefilled(team, task) < 500 + 9 * 40


def test_a_line_is_read_by_another_model_too() -> None:
    other = tl.LLM("fake:", name="other", replies=SPOKEN)
    guest = tl.Agent("jo", other)
    team = tl.teams.group_chat(ann, bob, guest, rounds=1)
    assert team("Tea or coffee?")[-1] == tl.teams.Line("jo", "tea wins")
    assert prefilled(team, "word " * 100) < 300


@both_ways
def test_a_member_with_a_conversation_of_its_own_gets_the_transcript_as_text(
    optimize: bool,
) -> None:
    guest = tl.teams.sequence(tl.Agent("inner", llm), name="jo")
    team = tl.teams.group_chat(ann, bob, guest, rounds=1).using(optimize=optimize)
    transcript = "Tea or coffee?\n\nann: tea is warm\n\nbob: coffee is strong"
    assert "tea" in transcript
    assert team("Tea or coffee?")[-1].text == guest(
        f"{transcript}\n\nWrite only what jo says next."
    )


def test_a_typed_speaker_stands_in_the_transcript_as_json() -> None:
    rater = tl.Agent("rater", tl.LLM("fake:", replies={"": '{"ok": true}'}), out=tl.teams.Verdict)
    assert tl.teams.group_chat(rater, ann, rounds=1)("x")[0].text == '{"ok": true}'


def test_a_judge_may_answer_with_a_type() -> None:
    judge = tl.Agent("jo", tl.LLM("fake:", replies={"": '{"ok": true}'}), out=tl.teams.Verdict)
    assert tl.teams.debate(ann, bob, judge=judge)("x") == tl.teams.Verdict(ok=True)


@both_ways
def test_a_model_names_who_speaks_next_but_never_the_same_twice(optimize: bool) -> None:
    team = tl.teams.group_chat(ann, bob, jo, rounds=2, speaker="model", llm=tl.LLM("fake:"))
    speakers = [line.speaker for line in team.using(optimize=optimize)("Tea or coffee?")]
    assert len(speakers) == 6
    assert all(one != next_ for one, next_ in pairwise(speakers))


def test_the_model_that_names_speakers_reads_what_they_are_for() -> None:
    chooser = tl.LLM("fake:", replies={r"- ann: knows tea\n": "ann", r"- bob: ": "bob"})
    team = tl.teams.group_chat(ann, bob, jo, rounds=1, speaker="model", llm=chooser)
    assert team("Tea?")[0].speaker == "ann"


def test_conversations_stand_in_other_teams_and_their_graphs() -> None:
    chat = tl.teams.group_chat(ann, bob, rounds=1, merge=jo, name="talk")
    team = tl.teams.parallel(chat, tl.teams.debate(ann, bob, judge=jo))
    assert team("Tea?") == team.using(optimize=False)("Tea?") == ["tea wins", "tea wins"]


def test_one_agent_alone_does_not_talk() -> None:
    with pytest.raises(DefinitionError, match="group_chat needs 2 agents; got 1"):
        tl.teams.group_chat(ann)


def test_an_unknown_order_of_speakers_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'round_robin' or 'model', not 'random'"):
        tl.teams.group_chat(ann, bob, speaker="random")  # type: ignore[call-overload]


@both_ways
@pytest.mark.parametrize("engine", ["fake:", "fake:api", "fake:vllm", "fake:sglang"])
def test_a_debate_runs_alike_on_engines_of_every_kind(engine: str, optimize: bool) -> None:
    there = tl.LLM(engine, replies=SPOKEN)
    pro, con, judge = (tl.Agent(name, there) for name in ("ann", "bob", "jo"))
    team = tl.teams.debate(pro, con, judge=judge, rounds=1)
    assert team.using(optimize=optimize)("Tea or coffee?") == "tea wins"


def test_a_speaker_with_options_of_its_own_keeps_them() -> None:
    slow = tl.Agent("bob", tl.LLM("fake:", token_s=5.0)).using(timeout_s=0.05)
    with pytest.raises(QueryTimeout, match="bob"):
        tl.teams.group_chat(ann, slow, rounds=1)("Tea?")


def test_conversations_are_held_about_each_section() -> None:
    planner = tl.Agent("planner", tl.LLM("fake:", replies={"": '["a", "b"]'}), out=list[str])
    chat = tl.teams.group_chat(ann, bob, rounds=1, merge=jo, name="talk")
    team = tl.teams.sections(planner, chat)
    assert team("Tea?") == team.using(optimize=False)("Tea?") == ["tea wins", "tea wins"]


def test_what_a_merge_writes_at_the_end_of_a_chosen_order_is_the_streams_own_text() -> None:
    chooser = tl.LLM("fake:", name="chooser")
    team = tl.teams.group_chat(ann, bob, jo, rounds=1, speaker="model", llm=chooser, merge=jo)
    finals = [e.fields["text"] for e in team.stream("x") if e.kind == "text" and e.fields["final"]]
    assert "".join(finals) == team("x")


def test_a_model_that_would_name_nobody_is_refused() -> None:
    with pytest.raises(DefinitionError, match="write speaker='model'"):
        tl.teams.group_chat(ann, bob, llm=llm)
    with pytest.raises(TypeError, match="needs an LLM"):
        tl.teams.group_chat(ann, bob, speaker="model")


def test_a_debate_has_a_round_at_least() -> None:
    with pytest.raises(TraceError, match="rounds >= 1"):
        tl.teams.debate(ann, bob, rounds=0)
