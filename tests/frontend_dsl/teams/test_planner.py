"""A planner whose tasks run while it still writes the plan."""

import asyncio
import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

import teola as tl
from frontend_dsl.teams.plan import plan_schema
from frontend_dsl.teams.plan_tools import plan_tools
from teola.errors import ApprovalNeeded, DefinitionError, PlanInvalid

JOINED = r"(?s)Answer the task from these results.*<\|assistant\|>$"
both_ways = pytest.mark.parametrize("optimize", [True, False])


def task(id_: int, tool: str, after: tuple[int, ...] = (), **arguments: Any) -> dict[str, Any]:
    named = {"id": id_, "tool": tool, "arguments": arguments}
    return {**named, "after": [*after]} if after else named


def plan(*tasks: dict[str, Any]) -> str:
    return json.dumps({"tasks": tasks})


def model(*plans: str, joined: str = '{"replan": false, "text": "done"}', **options: Any) -> tl.LLM:
    """A model that writes these plans one after another."""
    replies = {JOINED: joined}
    for i in reversed(range(len(plans))):
        replies[r"(?s)" + r"<\|assistant\|>.*" * i + r"<\|assistant\|>$"] = plans[i]
    return tl.LLM("fake:", replies=replies, **options)


@tl.tool(pure=True)
def double(text: str) -> str:
    """Write a text twice."""
    return text * 2


@tl.tool(pure=True)
def glue(first: str, second: str = "") -> str:
    return f"{first}+{second}"


@tl.tool(pure=True)
def length(text: str) -> int:
    return len(text)


@tl.tool(pure=True)
def times(number: int, factor: int) -> int:
    return number * factor


@tl.tool(pure=True)
def broken(text: str) -> str:
    raise ValueError(f"no {text} here")


def results_of(*tasks: dict[str, Any], tools: Any, **options: Any) -> list[Any]:
    team = tl.teams.planner(model(plan(*tasks)), tools=tools, joiner=lambda results: results)
    found: Any = team.using(**options)("A task")
    return [result.value if result.failure is None else result.failure for result in found]


@both_ways
def test_a_task_takes_what_earlier_ones_gave(optimize: bool) -> None:
    tasks = [
        task(1, "double", text="ab"),
        task(2, "double", text="$1"),
        task(3, "glue", first="one $1", second="two $2"),
    ]
    expected = ["abab", "abababab", "one abab+two abababab"]
    assert results_of(*tasks, tools=[double, glue], optimize=optimize) == expected


def test_a_reference_alone_is_the_value_itself() -> None:
    tasks = [task(1, "length", text="abc"), task(2, "times", number="$1", factor=2)]
    assert results_of(*tasks, tools=[length, times]) == [3, 6]


def test_a_price_is_no_reference() -> None:
    tasks = [task(1, "double", text="$500 "), task(2, "glue", first="$1.50", second="$1, $1,000")]
    assert results_of(*tasks, tools=[double, glue]) == ["$500 $500 ", "$1.50+$500 $500 , $1,000"]


def test_tasks_start_while_the_plan_is_written_and_run_side_by_side() -> None:
    log: list[tuple[float, str]] = []

    @tl.tool(pure=True)
    async def look(what: str) -> str:
        clock = asyncio.get_running_loop()
        log.append((round(clock.time(), 3), f"begin {what}"))
        await asyncio.sleep(1.0)
        log.append((round(clock.time(), 3), f"end {what}"))
        return what

    tasks = [task(1, "look", what="a"), task(2, "look", what="b"), task(3, "look", what="$1 again")]
    words = [len(text.split()) for text in (plan(tasks[0]), plan(*tasks[:2]), plan(*tasks))]
    llm = model(plan(*tasks), token_s=0.1)
    ran = tl.run_virtually(tl.teams.planner(llm, tools=[look], joiner=len_of), "Look")
    assert words == [8, 15, 23]  # of 0.1 s each
    assert log == [
        (0.8, "begin a"),  # the plan is whole at 2.3
        (1.5, "begin b"),
        (1.8, "end a"),
        (2.3, "begin a again"),  # the third, when it is written
        (2.5, "end b"),
        (3.3, "end a again"),
    ]
    assert ran.result == 3


@tl.tool(pure=True)
def len_of(results: list[tl.teams.TaskResult]) -> int:
    return len(results)


@both_ways
def test_what_changes_something_waits_for_the_whole_plan(
    optimize: bool,
) -> None:
    done: list[str] = []

    def write(text: str) -> str:
        done.append(text)
        return text

    tasks = [task(1, "write", text="a"), task(2, "double", text="b"), task(3, "write", text="c")]
    broken_plan = plan(*tasks, task(4, "nothing"))
    llm = model(broken_plan, plan(*tasks))
    team = tl.teams.planner(llm, tools=[write, double], joiner=len_of).using(optimize=optimize)
    assert team("A task") == 3
    assert sorted(done) == ["a", "c"]  # nothing by the first plan, which could not run


def test_a_task_that_needs_approval_asks_the_approver_of_the_run() -> None:
    asked: list[tuple[str, Any]] = []
    done: list[str] = []

    @tl.tool(approval=True)
    def send(text: str) -> str:
        done.append(text)
        return "sent"

    def approver(question: str, subject: Any) -> bool:
        asked.append((question, subject))
        return bool(subject["text"] == "good")

    tasks = [task(1, "send", text="good"), task(2, "send", text="bad")]
    assert results_of(*tasks, tools=[send], approve=approver) == [
        "sent",
        "not allowed by the user; do without it",
    ]
    assert done == ["good"]
    assert ("May the plan call send?", {"text": "good"}) in asked


def test_without_an_approver_a_task_that_needs_one_is_an_error() -> None:
    @tl.tool(approval=True)
    def send(text: str) -> str:
        return text

    with pytest.raises(ApprovalNeeded, match="May the plan call send"):
        results_of(task(1, "send", text="a"), tools=[send])


def test_a_task_may_wait_for_one_that_it_takes_nothing_of() -> None:
    seen: list[str] = []

    @tl.tool(pure=True)
    async def slow(text: str) -> str:
        await asyncio.sleep(0.05 if text == "first" else 0)
        seen.append(text)
        return text

    tasks = [task(1, "slow", text="first"), task(2, "slow", text="then", after=(1,))]
    assert results_of(*tasks, tools=[slow]) == ["first", "then"]
    assert seen == ["first", "then"]


def test_a_task_that_fails_is_a_result_and_those_behind_it_do_not_run() -> None:
    tasks = [
        task(1, "broken", text="tea"),
        task(2, "double", text="$1"),
        task(3, "double", text="b"),
    ]
    expected = ["no tea here", "task 1 gave nothing", "bb"]
    assert results_of(*tasks, tools=[broken, double]) == expected


def test_wrong_arguments_are_the_failure_of_their_task() -> None:
    tasks = [task(1, "times", number="x", factor=2), task(2, "times", number=1)]
    first, second = results_of(*tasks, tools=[times])
    assert "valid integer" in first
    assert "factor" in second


def test_agents_teams_and_apps_are_tools_of_a_plan() -> None:
    inner = tl.LLM("fake:", name="inner", replies={"Sum up": "short", "": "long"})
    brief = tl.Agent("brief", inner, instructions="Sum up")
    pair = tl.teams.sequence(brief, name="pair")

    @tl.app
    def loud(text: str, times: int = 2) -> str:
        return tl.join([text] * times, sep="!")

    tasks = [task(1, "brief", task="a"), task(2, "pair", task="$1"), task(3, "loud", text="$2")]
    assert results_of(*tasks, tools=[brief, pair, loud]) == ["short", "short", "short!short"]


@both_ways
def test_the_planner_answers_from_the_results(optimize: bool) -> None:
    llm = model(plan(task(1, "double", text="ab")))
    assert tl.teams.planner(llm, tools=[double]).using(optimize=optimize)("A task") == "done"


def test_the_results_stand_behind_the_plan_in_one_conversation() -> None:
    seen = r'(?s)"text": "ab".*1\. double\(\{"text": "ab"\}\): abab\n.*<\|assistant\|>$'
    answer = '{"replan": false, "text": "it saw them"}'
    llm = tl.LLM("fake:", replies={seen: answer, "": plan(task(1, "double", text="ab"))})
    assert tl.teams.planner(llm, tools=[double])("A task") == "it saw them"


def test_another_plan_goes_on_from_the_results_of_the_first() -> None:
    again = '{"replan": true, "text": "more"}'
    llm = tl.LLM(
        "fake:",
        replies={
            r"(?s)2\. double.*Answer the task from these results.*<\|assistant\|>$": "enough",
            r"number them from 2 on\.<\|assistant\|>$": plan(task(2, "double", text="$1")),
            JOINED: again,
            "": plan(task(1, "double", text="a")),
        },
    )
    assert tl.teams.planner(llm, tools=[double], max_replans=1)("A task") == "enough"
    once = tl.teams.planner(llm, tools=[double], max_replans=0)("A task")
    assert once == again  # it was asked for its answer alone


def test_a_joiner_of_ones_own_may_ask_for_another_plan() -> None:
    class Decision(BaseModel):
        replan: bool
        text: str

    asked = tl.LLM(
        "fake:",
        name="asked",
        replies={"aaaa": '{"replan": false, "text": "yes"}', "": '{"replan": true, "text": "b"}'},
    )
    llm = model(plan(task(1, "double", text="a")), plan(task(2, "double", text="$1")))
    joiner = tl.Agent("joiner", asked, out=Decision)
    team = tl.teams.planner(llm, tools=[double], joiner=joiner)
    assert team("A task") == Decision(replan=False, text="yes")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (plan(task(1, "search", text="a")), "task 1 calls 'search'; the tools are double"),
        (plan(task(1, "double", text="$2"), task(2, "double", text="a")), "task 1 takes what"),
        (plan(task(1, "double", text="$2"), task(2, "double", text="$1")), "does not stand before"),
        (plan(task(1, "double", text="$1")), "task 1 takes what task 1 gives"),
        (plan(task(1, "double", text="a"), task(1, "double", text="b")), "two tasks 1"),
        (plan(task(1, "double", (5,), text="a")), "task 1 takes what task 5 gives"),
        ('{"tasks": []}', "it has no task"),
        ('{"tasks": [{"id": 1, "tool": "dou', "it is cut off"),
        ('{"tasks": [7]}', "7 is no task"),
        ('{"tasks": [{"id": 1, "tool": ["double"]}]}', r"task 1 calls \['double'\]"),
        ('{"tasks": [{"id": 1, "tool": "double", "arguments": "a"}]}', "are no object but 'a'"),
    ],
)
def test_a_plan_that_cannot_run_is_told_and_written_again(wrong: str, problem: str) -> None:
    good = plan(task(1, "double", text="good"))
    told = r"(?s)Your plan is not valid: .*<\|assistant\|>$"
    llm = tl.LLM("fake:", replies={JOINED: '{"replan": false, "text": "x"}', told: good, "": wrong})
    team = tl.teams.planner(llm, tools=[double], joiner=lambda results: results[0].value)
    assert team("A task") == "goodgood"
    with pytest.raises(PlanInvalid, match=f"the planner 'planner' wrote no plan.*{problem}"):
        tl.teams.planner(llm, tools=[double], max_replans=0)("A task")


def test_the_schema_of_a_plan_names_the_tools_and_their_arguments() -> None:
    def cut(text: Annotated[str, Field(max_length=9)], words: int = 3) -> str:
        return text[:words]

    schema: Any = plan_schema(plan_tools([cut, double]), earlier=[1], most=2)
    tasks = schema["properties"]["tasks"]
    assert (tasks["items"], tasks["maxItems"]) == (False, 2)
    first, second = (each["properties"] for each in tasks["prefixItems"][1]["anyOf"])
    assert first["id"] == second["id"] == {"const": 3}
    assert [first["tool"], second["tool"]] == [{"const": "cut"}, {"const": "double"}]
    assert first["arguments"]["properties"]["text"]["maxLength"] == 9
    number, reference = first["arguments"]["properties"]["words"]["anyOf"]
    assert (number["type"], reference) == ("integer", {"enum": ["$1", "$2"]})
    assert first["after"]["items"] == {"enum": [1, 2]}
    assert first["arguments"]["required"] == ["text"]


def test_a_model_that_keeps_to_the_schema_writes_plans_that_run() -> None:
    llm = tl.LLM("fake:", replies={JOINED: "{}"})
    made: Any = tl.teams.planner(llm, tools=[double], joiner=lambda results: results)
    assert [result.failure for result in made("A task")] == [None, None]  # the smallest plan


def test_a_planner_is_a_member_of_other_teams() -> None:
    llm = model(plan(task(1, "double", text="ab")))
    team = tl.teams.planner(llm, tools=[double])

    @tl.app
    async def app(text: str) -> str:
        return await team(text)

    assert app("A task") == "done"


def test_a_planner_without_tools_is_refused() -> None:
    with pytest.raises(DefinitionError, match="planner needs tools"):
        tl.teams.planner(model(), tools=[])


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two tools have the name 'double'"):
        tl.teams.planner(model(), tools=[double, double])


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(DefinitionError, match="3 is no tool"):
        tl.teams.planner(model(), tools=[3])


@pytest.mark.parametrize("replans", [0, 1])
def test_what_a_joiner_writes_is_the_answer_in_streams(replans: int) -> None:
    llm = model(plan(task(1, "double", text="ab")))
    said = tl.LLM("fake:", replies={"": "four letters"})
    team = tl.teams.planner(
        llm, tools=[double], joiner=tl.Agent("joiner", said), max_replans=replans
    )
    events = list(team.stream("A task"))
    final = [e.fields["text"] for e in events if e.kind == "text" and e.fields["final"]]
    assert "".join(final) == events[-1].fields["result"] == "four letters"


def test_what_changes_something_waits_for_a_plan_that_is_whole() -> None:
    written: list[str] = []

    @tl.tool
    def write(text: str) -> str:
        written.append(text)
        return text

    wrong = plan(task(1, "write", text="early"), task(2, "search", text="a"))
    slow = tl.LLM("fake:", token_s=0.005, replies={"": wrong})
    with pytest.raises(PlanInvalid, match="task 2 calls 'search'"):
        tl.teams.planner(slow, tools=[write], max_replans=0)("A task")
    assert written == []


def test_an_app_that_changes_something_waits_for_the_tasks_before_it() -> None:
    done: list[str] = []

    @tl.tool(pure=True)
    async def think(text: str) -> str:
        await asyncio.sleep(0.1)
        done.append("think")
        return f"more {text}"

    @tl.tool
    def note(text: str) -> str:
        done.append("write")
        return text

    @tl.app
    def write(text: str) -> str:
        return note(text)

    tasks = task(1, "think", text="a"), task(2, "think", text="$1"), task(3, "write", text="b")
    llm = model(plan(*tasks))
    tl.teams.planner(llm, tools=[think, write], joiner=len, max_replans=0)("A task")
    assert done == ["think", "think", "write"]
