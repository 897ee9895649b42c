"""Teams whose form is known: one graph each, the same answer optimized and plain."""

import re
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from teola.errors import DefinitionError, TraceError

llm = tl.LLM(
    "fake:",
    replies={
        r"(?s)You outline\.<\|user\|>A topic<\|assistant\|>$": '["one", "two"]',
        r"(?s)You write\..*section: (one|two)<\|assistant\|>$": "a section",
        r"(?s)You judge\..*draft: third<\|assistant\|>$": '{"ok": true}',
        r"(?s)You judge\..*<\|assistant\|>$": '{"ok": false, "fixes": "more facts"}',
        r"(?s)You draft\..*draft: second\nfeedback: more facts<\|assistant\|>$": "third",
        r"(?s)You draft\..*draft: first\nfeedback: more facts<\|assistant\|>$": "second",
        r"(?s)You draft\..*<\|assistant\|>$": "first",
    },
)
ann = tl.Agent("ann", llm, instructions="You are Ann.")
bob = tl.Agent("bob", llm, instructions="You are Bob.")
drafter = tl.Agent("drafter", llm, instructions="You draft.")
judge = tl.Agent("judge", llm, instructions="You judge.", out=tl.teams.Verdict)
outliner = tl.Agent("outliner", llm, instructions="You outline.", out=list[str])
writer = tl.Agent("writer", llm, instructions="You write.")

both_ways = pytest.mark.parametrize("optimize", [True, False])


def ops(team: Any) -> list[str]:
    return [node.op for node in team.graph().nodes]


@tl.tool(pure=True)
def count(answers: list[str]) -> int:
    return len(answers)


def test_a_sequence_gives_each_agent_what_the_one_before_answered() -> None:
    team = tl.teams.sequence(ann, bob)
    graph = str(team.graph())
    assert ops(team).count("decode") == 2
    assert '%bob.prompt = prefill %bob.empty @system "You are Bob." @user %ann' in graph
    assert team("Hello") == team.using(optimize=False)("Hello") == bob(ann("Hello"))


def test_agents_side_by_side_are_asked_the_same_and_answer_in_their_order() -> None:
    team = tl.teams.parallel(ann, bob)
    assert team("Hello") == team.using(optimize=False)("Hello") == [ann("Hello"), bob("Hello")]
    after = str(team.plan().after)
    assert "after %ann" not in after


def test_a_function_merges_the_answers_of_agents_side_by_side() -> None:
    assert tl.teams.parallel(ann, bob, merge=count)("Hello") == 2
    assert tl.teams.parallel(ann, bob, merge=lambda answers: answers[1])("Hello") == bob("Hello")


def test_an_agent_merges_the_answers_by_the_names_of_their_agents() -> None:
    team = tl.teams.parallel(ann, bob, merge=writer)
    assert team("Hello") == writer("Hello", ann=ann("Hello"), bob=bob("Hello"))


@both_ways
def test_a_draft_is_written_again_until_the_critic_is_content(optimize: bool) -> None:
    team = tl.teams.critic(drafter, judge, rounds=5).using(optimize=optimize)
    assert team("A topic") == "third"


def test_a_critic_that_is_never_content_ends_after_its_rounds() -> None:
    assert tl.teams.critic(drafter, judge, rounds=1)("A topic") == "second"


def test_the_loop_of_a_critic_is_one_graph() -> None:
    assert "loop" in ops(tl.teams.critic(drafter, judge))


def test_a_verdict_without_fixes_is_given_to_the_writer_whole() -> None:
    class Grade(BaseModel):
        ok: bool
        reason: str

    grader = tl.Agent("grader", tl.LLM("fake:", replies={"": '{"ok": false, "reason": "dull"}'}))
    grader = tl.Agent("grader", grader.llm, out=Grade)
    graph = str(tl.teams.critic(drafter, grader).graph())
    assert re.search(r'feedback:" @sp %grader', graph)


@both_ways
def test_each_section_of_a_plan_is_written_by_itself(optimize: bool) -> None:
    team = tl.teams.sections(outliner, writer).using(optimize=optimize)
    assert team("A topic") == ["a section", "a section"]


def test_sections_may_stand_in_a_field_of_the_plan_and_are_merged() -> None:
    class Plan(BaseModel):
        title: str
        parts: list[str]

    planner = tl.Agent("planner", llm, out=Plan)
    team = tl.teams.sections(planner, writer, merge=count)
    assert 'path=["parts"]' in str(team.graph())
    assert team("Another topic") == len(planner("Another topic").parts)


def test_a_section_is_written_while_the_planner_still_writes_the_next() -> None:
    slow = tl.LLM("fake:", replies={"List": '["one", "two", "three", "four"]'}, token_s=0.1)
    fast = tl.LLM("fake:", replies={"": "written"}, name="fast", token_s=0.1)
    planner = tl.Agent("planner", slow, instructions="List", out=list[str])
    team = tl.teams.sections(planner, tl.Agent("author", fast))
    ran = tl.run_virtually(team, "A topic")
    assert ran.result == ["written"] * 4
    assert ran.seconds == pytest.approx(0.5)  # four items, and the last one's section
    assert tl.run_virtually(team.using(optimize=False), "A topic").seconds == pytest.approx(0.8)


def test_a_team_takes_context_as_an_agent_does() -> None:
    team = tl.teams.sequence(ann)
    assert team("Hello", mood="happy") == ann("Hello", mood="happy")
    assert team("Hello", mood="happy") != team("Hello")


def test_teams_nest_and_one_graph_holds_them() -> None:
    inner = tl.teams.parallel(ann, bob, merge=writer, name="inner")
    team = tl.teams.sequence(inner, drafter)
    assert ops(team).count("decode") == 4
    assert team("Hello") == team.using(optimize=False)("Hello") == "first"


def test_a_team_is_called_inside_an_app_as_a_part_of_it() -> None:
    team = tl.teams.sequence(ann, bob)

    @tl.app
    def app(text: str) -> str:
        return team(text, mood="happy")

    assert app("Hello") == team("Hello", mood="happy")


def test_apps_and_prompt_functions_of_one_text_are_members() -> None:
    @tl.prompt(llm)
    def shout(text: str) -> str:
        return f"Shout {text}"

    @tl.app
    def twice(text: str, times: int = 2) -> str:
        return shout(f"{text} {times}")

    team = tl.teams.sequence(shout, twice)
    assert ops(team).count("decode") == 2
    assert team("Hello") == team.using(optimize=False)("Hello")


def test_a_team_streams_and_runs_many_tasks_at_once() -> None:
    team = tl.teams.sequence(ann, bob)
    *_, last = team.stream("Hello")
    assert last.fields["result"] == team("Hello")
    assert team.batch(["Hello", "Bye"]) == [team("Hello"), team("Bye")]


def test_a_team_names_its_engines_as_the_users_module_does() -> None:
    replaced = tl.teams.sequence(ann).using(engines={"llm": "fake:"})
    assert 'engine="llm"' in str(replaced.graph())
    assert replaced("Hello").startswith("reply")


def test_a_member_that_is_redefined_is_seen() -> None:
    words = "one"

    @tl.prompt(llm)
    def ask(text: str) -> str:
        return f"{words} {text}"

    @tl.app
    def helper(task: str) -> str:
        return ask(task)

    team = tl.teams.sequence(tl.teams.sequence(helper), name="outer")
    first = team("Hello")
    words = "two"
    assert team("Hello") == helper("Hello") != first


def test_a_team_without_agents_says_what_it_needs() -> None:
    with pytest.raises(DefinitionError, match=r"sequence needs an agent; got 0"):
        tl.teams.sequence()


def test_two_agents_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two agents of tl.teams.parallel are called 'ann'"):
        tl.teams.parallel(ann, bob, ann)


def test_what_is_no_agent_is_refused_with_what_to_do() -> None:
    with pytest.raises(DefinitionError, match=r"not <built-in function len>; make .* @tl\.app"):
        tl.teams.sequence(len)  # type: ignore[arg-type, call-overload]


def test_an_app_that_needs_more_than_a_text_is_refused() -> None:
    @tl.app
    def translate(text: str, language: str) -> str:
        return writer(f"{language}: {text}")

    with pytest.raises(DefinitionError, match=r"translate\(\) needs are: text, language"):
        tl.teams.sequence(ann, translate)


def test_a_critic_without_a_verdict_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"'bob' of tl.teams.critic answers str; give it"):
        tl.teams.critic(ann, bob)


def test_a_planner_without_a_list_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'bob' of tl.teams.sections answers str, with 0"):
        tl.teams.sections(bob, ann)


def test_rounds_are_a_number_of_one_or_more() -> None:
    with pytest.raises(TraceError, match="rounds >= 1"):
        tl.teams.critic(drafter, judge, rounds=0)


def test_a_team_is_called_what_an_engine_takes_as_the_name_of_a_tool() -> None:
    with pytest.raises(DefinitionError, match="the name of a team has letters"):
        tl.teams.sequence(ann, name="my team")


def test_a_merge_is_an_agent_or_a_function() -> None:
    with pytest.raises(DefinitionError, match=r"merge= of tl.teams.parallel .* not 'join'"):
        tl.teams.parallel(ann, merge="join")  # type: ignore[call-overload]
