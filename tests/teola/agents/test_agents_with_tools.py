"""Agents with tools: the loop over turns, calls, errors that go back to the model."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from runtime.events import Event
from teola.errors import BudgetExceeded, NodeFailed, QueryTimeout, TraceError

EMBEDDED = {"prefill", "fork", "structured", "seed", "stream", "abort"}
log: list[str] = []


def said(*calls: tuple[str, dict[str, Any]], content: str = "") -> str:
    texts = [json.dumps({"name": name, "arguments": given}) for name, given in calls]
    return content + "".join(f"<tool_call>{text}</tool_call>" for text in texts)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tl.tool
def note(text: str) -> str:
    log.append(text)
    return f"noted {text}"


@tl.tool
def broken(text: str) -> str:
    raise LookupError(f"no {text} here")


class Sum(BaseModel):
    total: int


REPLIES = {
    r"<\|tool\|>3.*Now write the answer": '{"total": 3}',
    r"<\|tool\|>3<\|assistant\|>$": "It is 3.",
    "sum": said(("add", {"a": 1, "b": 2}), content="Let me see."),
}
llm = tl.LLM("fake:", replies=REPLIES)
both_ways = pytest.mark.parametrize("optimize", [True, False])
calc = tl.Agent("calc", llm, instructions="Count.", tools=[add])


@both_ways
def test_an_agent_calls_its_tool_and_answers(optimize: bool) -> None:
    agent = calc.using(optimize=optimize)
    result = asyncio.run(agent.run("the sum"))
    assert result.output == agent("the sum") == "It is 3."
    assert [(made.name, made.arguments, made.result) for made in result.calls] == [
        ("add", {"a": 1, "b": 2}, "3")
    ]
    assert [(message.role, message.content) for message in result.messages] == [
        ("system", "Count."),
        ("user", "the sum"),
        ("assistant", "Let me see."),
        ("tool", "3"),
        ("assistant", "It is 3."),
    ]
    assert (result.turns, result.stopped_by) == (2, "answer")


@both_ways
def test_an_agent_with_tools_is_a_node_of_def_and_async_apps(optimize: bool) -> None:
    @tl.app
    def mapped(tasks: list[str]) -> list[str]:
        return tl.map(lambda task: calc(task, unit="m"), tasks)

    @tl.app
    async def awaited(task: str) -> list[Any]:
        result = await calc.run(task)
        return [await tl.value(calc(task)), result.output, result.turns]

    assert mapped.using(optimize=optimize)(["sum", "a sum"]) == ["It is 3."] * 2
    assert awaited.using(optimize=optimize)("sum") == ["It is 3.", "It is 3.", 2]
    with pytest.raises(TraceError, match=r"agent\.run\(\) can be awaited in an `async def` app"):
        tl.app(_runs_in_a_def_app)("sum")


def _runs_in_a_def_app(task: str) -> Any:
    return calc.run(task)


@both_ways
def test_the_answer_of_a_typed_agent_is_held_to_its_schema(optimize: bool) -> None:
    typed = tl.Agent("typed", llm, tools=[add], out=Sum)
    assert typed.using(optimize=optimize)("the sum") == Sum(total=3)


def test_an_engine_without_tools_is_held_to_the_json_of_a_turn() -> None:
    replies = {
        "add gave: 3.*Now write the answer": '{"total": 3}',
        "add gave: 3": '{"content": "It is 3.", "calls": []}',
        r'"name": "add".*sum': (
            '{"content": "", "calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]}'
        ),
    }
    plain = tl.LLM("fake:", capabilities=EMBEDDED, replies=replies)
    assert tl.Agent("calc", plain, tools=[add])("the sum") == "It is 3."
    assert tl.Agent("typed", plain, tools=[add], out=Sum)("the sum") == Sum(total=3)


def test_an_agent_runs_on_the_engine_that_replaces_its_own() -> None:
    other = tl.Agent("other", tl.LLM("fake:", name="own"), tools=[add])
    result = asyncio.run(other.using(engines={"own": "fake:"}).run("hello"))
    assert result.output.startswith("reply ")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (said(("ad", {})), "there is no function 'ad'; there are add"),
        (said(("add", {"a": 1})), "wrong arguments: b: Field required"),
        (said(("add", {"a": 1, "b": "x"})), "wrong arguments: b: Input should be a valid integer"),
    ],
)
def test_a_wrong_call_goes_back_to_the_model(wrong: str, told: str) -> None:
    again = tl.LLM("fake:", replies={r"<\|tool\|>.*call it again|no function": "sorry", "": wrong})
    result = asyncio.run(tl.Agent("calc", again, tools=[add]).run("go"))
    assert result.output == "sorry"
    assert result.calls[0].failed
    assert told in result.calls[0].result


def test_what_a_tool_raises_goes_back_to_the_model() -> None:
    model = tl.LLM(
        "fake:",
        replies={
            "it failed: LookupError: no tea here": "sorry",
            "": said(("broken", {"text": "tea"})),
        },
    )
    assert tl.Agent("careful", model, tools=[broken])("go") == "sorry"


def events_of(agent: tl.Agent[Any], task: str) -> list[Event]:
    heard: list[Event] = []
    tl.run_virtually(agent.using(listener=heard.append, memo=False), task)
    return heard


def times(events: list[Event], kind: str, node: str) -> list[float]:
    return [event.t for event in events if event.kind == kind and event.node == node]


def slow_pair(text: str) -> tl.LLM:
    replies = {r"<\|tool\|>": "done", "": text}
    return tl.LLM("fake:", token_s=1.0, replies=replies)


TWO = "First. " + said(("look", {"n": 1})) + " \n" + said(("look", {"n": 2})) + " \n"


def test_a_call_that_changes_nothing_begins_while_the_model_writes_the_next() -> None:
    @tl.tool(reads=True)
    async def look(n: int) -> int:
        await asyncio.sleep(2.0)
        return n

    agent = tl.Agent("early", slow_pair(TWO), tools=[look])
    heard = events_of(agent, "go")
    turn_ends = times(heard, "end", "early.turn")[0]
    first, second = times(heard, "start", "look")
    assert first < turn_ends
    assert first < second
    assert times(heard, "end", "look")[0] == first + 2.0


def test_calls_that_change_something_begin_side_by_side_when_the_turn_is_complete() -> None:
    @tl.tool
    async def look(n: int) -> int:
        await asyncio.sleep(2.0)
        return n

    model = slow_pair(TWO)
    heard = events_of(tl.Agent("late", model, tools=[look]), "go")
    starts = times(heard, "start", "look")
    assert starts[0] == starts[1] >= times(heard, "end", "late.turn")[0]
    one_by_one = tl.Agent("late", model, tools=[look], parallel_calls=False)
    heard = events_of(one_by_one, "go")
    starts = times(heard, "start", "look")
    assert starts[1] >= starts[0] + 2.0


def test_effects_of_agents_keep_the_programs_order() -> None:
    model = tl.LLM(
        "fake:",
        replies={
            r"<\|tool\|>": "done",
            "first": said(("note", {"text": "1"}), ("note", {"text": "2"})),
            "second": said(("note", {"text": "3"})),
        },
    )
    writer = tl.Agent("writer", model, tools=[note])

    @tl.app
    def outer() -> str:
        note("0")
        tl.map(writer, ["first", "second"])
        return note("4")

    log.clear()
    outer()
    assert (log[0], sorted(log[1:3]), log[3:]) == ("0", ["1", "2"], ["3", "4"])


def test_an_agent_whose_tools_change_nothing_runs_beside_others() -> None:
    reader = tl.Agent("reader", llm, tools=[tl.tool(pure=True)(add)])

    @tl.app
    def outer(tasks: list[str]) -> list[str]:
        return tl.map(reader, tasks)

    (node,) = [node for node in outer.graph().nodes[-1].bodies[0].nodes if node.op == "call"]
    assert (node.attrs["pure"], node.attrs["reads"]) == (True, True)
    assert outer(["sum", "the sum"]) == ["It is 3."] * 2


def test_agents_and_apps_are_tools_of_an_agent() -> None:
    @tl.prompt(llm)
    def ask(text: str) -> str:
        return f"Ask {text}"

    helper = tl.LLM("fake:", replies={"Ask tea": "green"}, name="helper")

    @tl.prompt(helper)
    def look_up(text: str) -> str:
        return f"Ask {text}"

    @tl.app
    def colour(of: str) -> str:
        """The colour of something."""
        return look_up(of)

    model = tl.LLM(
        "fake:",
        replies={
            r"<\|tool\|>green<\|tool\|>It is 3": "both",
            "": said(("colour", {"of": "tea"}), ("calc", {"task": "the sum"})),
        },
    )
    boss = tl.Agent("boss", model, tools=[colour, calc])
    result = asyncio.run(boss.run("go"))
    assert result.output == "both"
    assert [made.result for made in result.calls] == ["green", "It is 3."]
    assert result.usage.decode_tokens >= 8  # the sub-agent's among them


class Shelf:
    name = "shelf"
    description = "What stands on a shelf."
    needs_approval = False

    def __init__(self, *, reads: bool) -> None:
        self.pure = self.reads = reads
        properties = {"row": {"type": "integer"}}
        self.parameters: Mapping[str, Any] = {"properties": properties, "required": ["row"]}

    async def call(self, arguments: dict[str, Any]) -> Any:
        return {"row": arguments["row"], "books": 2}


@both_ways
@pytest.mark.parametrize("reads", [True, False])
def test_a_tool_may_describe_itself(reads: bool, optimize: bool) -> None:
    model = tl.LLM(
        "fake:",
        replies={
            r'<\|tool\|>{"row": 3, "books": 2}': "two",
            r"<\|tool\|>wrong arguments: missing: row": said(("shelf", {"row": 3})),
            "": said(("shelf", {})),
        },
    )
    shelf = Shelf(reads=reads)
    assert isinstance(shelf, tl.AgentTool)
    agent = tl.Agent("librarian", model, tools=[shelf]).using(optimize=optimize)
    result = asyncio.run(agent.run("go"))
    assert result.output == "two"
    assert [made.failed for made in result.calls] == [True, False]


@pytest.mark.parametrize("server", ["api", "sglang", "vllm"])
def test_agents_run_on_servers_of_each_kind(server: str) -> None:
    model = tl.LLM(f"fake:{server}", replies=REPLIES)
    assert tl.Agent("calc", model, tools=[add])("the sum") == "It is 3."
    assert tl.Agent("typed", model, tools=[add], out=Sum)("the sum") == Sum(total=3)


def test_a_copy_of_an_agent_has_its_own_options_inside_an_app() -> None:
    other = calc.using(engines={"llm": "fake:"})

    @tl.app
    def outer(task: str) -> list[str]:
        return [calc(task), other(task)]

    own, replaced = outer("the sum")
    assert own == "It is 3."
    assert replaced.startswith("reply ")


def test_an_agent_with_tools_has_no_graph_before_it_runs() -> None:
    with pytest.raises(TraceError, match="the agent calc has tools or memory: its graphs come"):
        calc.graph()


def test_turns_are_bounded() -> None:
    forever = tl.LLM(
        "fake:",
        replies={"Answer now": "enough", "": said(("add", {"a": 1, "b": 1}))},
    )
    agent = tl.Agent("endless", forever, tools=[add], max_turns=3)
    with pytest.raises(BudgetExceeded, match="used up its 3 turns") as told:
        agent("go")
    assert told.value.limit == "turns"

    @tl.app
    def outer(task: str) -> list[str]:
        return [agent(task)]

    @tl.app
    def careful(task: str) -> str:
        return tl.attempt(lambda: agent(task), "nothing")

    assert careful("go") == "nothing"
    with pytest.raises(BudgetExceeded, match="used up its 3 turns"):
        outer("go")
    patient = tl.Agent("endless", forever, tools=[add], max_turns=3, on_limit="answer")
    result = asyncio.run(patient.run("go"))
    assert (result.output, result.turns, result.stopped_by) == ("enough", 4, "turns")


@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        (tl.Budget(tokens=20), "tokens"),
        (tl.Budget(calls=2), "calls"),
        (tl.Budget(seconds=0.2), "seconds"),
    ],
)
def test_budgets_are_kept(budget: tl.Budget, limit: str) -> None:
    model = tl.LLM(
        "fake:",
        token_s=0.01,
        replies={"Answer now": "enough", "": said(("add", {"a": 1, "b": 1}))},
    )
    options: dict[str, Any] = {"tools": [add], "max_turns": 100, "budget": budget}
    with pytest.raises(BudgetExceeded) as told:
        tl.Agent("spender", model, **options)("go")
    assert told.value.limit == limit
    patient: tl.Agent[str] = tl.Agent("spender", model, on_limit="answer", **options)
    result = asyncio.run(patient.run("go"))
    assert (result.output, result.stopped_by) == ("enough", limit)
    if limit == "calls":
        assert [made.failed for made in result.calls] == [False, False, True]


def test_a_tool_choice_is_for_the_first_turn() -> None:
    model = tl.LLM("fake:", replies={r"<\|tool\|>": "done"})
    agent = tl.Agent("forced", model, tools=[add, note], tool_choice="add")
    result = asyncio.run(agent.run("go"))
    assert [made.name for made in result.calls] == ["add"]
    assert result.output == "done"
    with pytest.raises(ValueError, match="tool_choice= of the agent forced is 'sub'"):
        tl.Agent("forced", model, tools=[add], tool_choice="sub")


def test_a_stream_has_the_text_of_the_content_and_the_calls() -> None:
    events = list(calc.using(memo=False).stream("the sum"))
    text = "".join(event.fields["text"] for event in events if event.kind == "text")
    assert text == "Let me see.It is 3."
    assert [event.node for event in events if event.op == "call" and event.kind == "end"] == ["add"]
    assert events[-1].fields["result"] == "It is 3."


def test_a_stream_of_an_app_has_the_text_of_the_agents_in_it() -> None:
    @tl.app
    def outer(task: str) -> str:
        return calc(task)

    events = list(outer.using(memo=False).stream("the sum"))
    text = "".join(event.fields["text"] for event in events if event.kind == "text")
    assert text == "Let me see.It is 3."


def test_a_failure_of_the_model_ends_the_agent() -> None:
    short = tl.LLM("fake:", max_context_tokens=3, name="short")
    with pytest.raises(NodeFailed, match=r"test_agents_with_tools\.py:\d+\) failed"):
        tl.Agent("long", short, tools=[add])("one two three four five")


def test_many_agents_run_side_by_side() -> None:
    assert calc.batch(["the sum", {"task": "a sum", "unit": "m"}]) == ["It is 3."] * 2


def test_cancelling_an_agent_stops_its_tools() -> None:
    seen: list[str] = []

    @tl.tool
    async def wait(n: int) -> int:
        seen.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("stopped")
        return n

    model = tl.LLM("fake:", replies={"": said(("wait", {"n": 1}))})
    agent = tl.Agent("waiter", model, tools=[wait])

    @tl.app
    def outer(task: str) -> str:
        return agent(task)

    async def cancelled(app: tl.App[..., str]) -> None:
        task = asyncio.create_task(app.arun("go"))
        while "begun" not in seen:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while "stopped" not in seen:
            await asyncio.sleep(0.01)

    for app in (agent, outer):
        seen.clear()
        asyncio.run(asyncio.wait_for(cancelled(app), 60))
        assert seen == ["begun", "stopped"]
    with pytest.raises(QueryTimeout, match=r"app waiter\(\) did not finish within 0\.2 s"):
        agent.using(timeout_s=0.2)("go")


def test_arguments_of_nested_models_are_asked_for_without_references() -> None:
    class Leg(BaseModel):
        city: str
        then: "Leg | None" = None

    def travel(route: Leg) -> str:
        return f"{route.city} {route.then.city if route.then else ''}"

    call = {"name": "travel", "arguments": {"route": {"city": "Rome", "then": {"city": "Oslo"}}}}
    turn = json.dumps({"content": "", "calls": [call]})
    replies = {"gave: Rome Oslo": '{"content": "booked", "calls": []}', "": turn}
    plain = tl.LLM("fake:", capabilities=EMBEDDED, replies=replies)
    heard: list[Event] = []
    agent = tl.Agent("agency", plain, tools=[travel])
    assert agent.using(listener=heard.append)("go") == "booked"
    graphs = [event.fields["graph"] for event in heard if event.kind == "query"]
    schemas = [part.partition("max_tokens")[0] for part in graphs[0].split("schema=")[1:]]
    assert schemas
    assert all("$ref" not in schema for schema in schemas)
