"""What goes wrong around an agent, and what is written to mislead it."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

import teola as tl
from backends.fake.llm import FakeContext, FakeLLM
from frontend_dsl.agents.approval import ask_at_terminal
from frontend_dsl.agents.calling import Calling
from frontend_dsl.agents.turn_reader import Call
from teola.errors import AnswerNotValid, BudgetExceeded, DefinitionError, QueryTimeout

WITHOUT_TOOLS = {"prefill", "fork", "structured", "seed", "stream", "abort"}
CALL = json.dumps({"name": "half", "arguments": {"n": 3}})


def half(n: int) -> int:
    return n // 2


@tl.app
def halved(n: int) -> int:
    if n % 2:
        raise ValueError("n must be even")
    return tl.tool(half, pure=True)(n)


def test_an_app_that_raises_while_it_is_traced_is_told_to_the_model() -> None:
    call = json.dumps({"name": "halved", "arguments": {"n": 3}})
    replies = {r"ValueError: n must be even": "sorry", "": f"<tool_call>{call}</tool_call>"}
    agent = tl.Agent("halver", tl.LLM("fake:", replies=replies), tools=[halved])
    result = asyncio.run(agent.run("3"))
    assert result.output == "sorry"
    assert [(made.arguments, made.failed) for made in result.calls] == [({"n": 3}, True)]


def test_what_a_server_that_holds_no_form_answers_is_the_answer() -> None:
    replies = {
        "half gave: 1": "It is 1.",
        r"call it<\|assistant": f'{{"calls": [{CALL}]}}',
        "": "Hello.",
    }
    model = tl.LLM("fake:", capabilities=WITHOUT_TOOLS, replies=replies)
    agent = tl.Agent("halver", model, tools=[half])
    assert agent("hi") == "Hello."
    assert agent("call it") == "It is 1."


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"tools": half}, r"tools= of the agent x is a list, as tools=\[search\]"),
        ({"tools": "half"}, r"tools= of the agent x is a list"),
        ({"budget": 5}, r"budget= of the agent x is a tl\.Budget\(\.\.\.\), not 5"),
    ],
)
def test_what_is_no_part_of_an_agent_is_refused_when_it_is_made(
    wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        tl.Agent("x", tl.LLM("fake:"), **wrong)


class Terminal(io.StringIO):
    """Answers a question only when it was asked alone."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.most = 0
        self.both = threading.Barrier(2)

    def readline(self, size: int | None = -1, /) -> str:
        self.asked += 1
        self.most = max(self.most, self.asked)
        with suppress(threading.BrokenBarrierError):
            self.both.wait(0.1)
        self.asked -= 1
        return "y\n"


def test_the_terminal_asks_one_question_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdin", terminal)
    threads = [threading.Thread(target=ask_at_terminal, args=("Go?", None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert terminal.most == 1


def test_a_cancellation_is_not_lost_behind_the_last_call() -> None:
    async def cancelled_at(step: int) -> bool:
        calling = Calling("x", None, {}, parallel=True)  # type: ignore[arg-type]
        calling.add(Call("unknown", "{}"), is_allowed=True)
        ended = False

        async def work() -> None:
            nonlocal ended
            await calling.results()
            await asyncio.sleep(60)
            ended = True

        task = asyncio.create_task(work())
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=1)
        was_cancelled = task.cancelled()
        task.cancel()
        return was_cancelled and not ended

    for step in range(1, 8):
        assert asyncio.run(cancelled_at(step)), f"lost after {step} steps of the loop"


def test_an_answer_at_a_limit_that_is_not_valid_says_so() -> None:
    replies = {"Answer now": "junk", "": f"<tool_call>{CALL}</tool_call>"}
    model = tl.LLM("fake:", replies=replies)
    agent: tl.Agent[int] = tl.Agent(
        "counter", model, tools=[half], out=int, max_turns=1, on_limit="answer"
    )
    told = r"counter gave no valid answer: Invalid JSON.*it wrote 'junk'"
    with pytest.raises(AnswerNotValid, match=told):
        agent("go")


def test_a_tool_needs_a_name_that_a_model_can_write() -> None:
    with pytest.raises(DefinitionError, match=r"'<lambda>' is no name .* tl\.tool\(name=\)"):
        tl.Agent("x", tl.LLM("fake:"), tools=[lambda n: n])


@pytest.mark.parametrize("able", [None, WITHOUT_TOOLS])
def test_a_result_that_no_text_can_hold_is_told_all_the_same(able: Any) -> None:
    @tl.tool
    def names() -> str:
        return "caf\udce9"  # as os.listdir gives what is no UTF-8

    call = json.dumps({"name": "names", "arguments": {}})
    turn = json.dumps({"content": "", "calls": [json.loads(call)]})
    asked = turn if able else f"<tool_call>{call}</tool_call>"
    replies = {r"caf\?": '{"content": "done", "calls": []}' if able else "done", "": asked}
    more = {"capabilities": able} if able else {}
    agent = tl.Agent("lister", tl.LLM("fake:", replies=replies, **more), tools=[names])
    assert agent("go") == "done"


def test_a_call_that_needs_approval_does_not_ask_before_the_turn_is_complete() -> None:
    asked: list[str] = []

    def approver(question: str, subject: Any) -> bool:
        asked.append(question)
        return True

    risky = tl.tool(half, pure=True, approval=True)
    text = f"<tool_call>{CALL}</tool_call> " + "word " * 400
    agent = tl.Agent("x", tl.LLM("fake:", token_s=0.02, replies={"": text}), tools=[risky])
    with pytest.raises(QueryTimeout):
        agent.using(approve=approver, timeout_s=0.4)("go")
    assert asked == []


def test_a_turn_that_the_time_cut_is_forgotten() -> None:
    replies = {"(?s)word.*Answer now": "stale", "Answer now": "enough", "": "word " * 60}
    model = tl.LLM("fake:", token_s=0.2, replies=replies)
    agent = tl.Agent("slow", model, tools=[half], budget=tl.Budget(seconds=0.2), on_limit="answer")
    result = asyncio.run(agent.run("go"))
    assert (result.output, result.stopped_by, result.turns) == ("enough", "seconds", 1)


def test_a_call_is_required_in_the_first_turn_only() -> None:
    agent = tl.Agent("forced", tl.LLM("fake:"), tools=[half], tool_choice="required")
    result = asyncio.run(agent.run("go"))
    assert (result.turns, [made.name for made in result.calls]) == (2, ["half"])


def test_a_budget_counts_what_is_written() -> None:
    text = "word " * 60 + f"<tool_call>{CALL}</tool_call>"
    model = tl.LLM("fake:", replies={"Answer now": "enough", "": text})
    agent = tl.Agent("x", model, tools=[half], budget=tl.Budget(tokens=50), on_limit="answer")
    result = asyncio.run(agent.run("go"))
    assert (result.stopped_by, len(result.calls)) == ("tokens", 1)


def test_a_stream_has_the_text_of_an_agent_inside_one_of_the_same_name() -> None:
    model = tl.LLM("fake:", replies={r"<\|tool\|>": "outer text", "task": "inner text"})
    inner = tl.Agent("twin", model, tools=[half])

    @tl.app
    async def again(task: str) -> str:
        """Ask the other one."""
        return await tl.value(inner(task))

    call = json.dumps({"name": "again", "arguments": {"task": "task"}})
    first = tl.LLM(
        "fake:", replies={r"<\|tool\|>": "outer text", "": f"<tool_call>{call}</tool_call>"}
    )
    outer = tl.Agent("twin", first, tools=[again])
    events = outer.using(memo=False).stream("go")
    texts = [event.fields["text"] for event in events if event.kind == "text"]
    assert "".join(texts) == "inner textouter text"


def test_an_app_with_effects_is_not_called_by_a_turn_that_fails() -> None:
    log: list[str] = []
    write, look = tl.tool(log.append, name="write"), tl.tool(log.append, name="look", pure=True)

    @tl.app
    def erase(name: str) -> Any:
        return write(f"erased {name}")

    @tl.app
    def find(name: str) -> Any:
        return look(f"found {name}")

    calls = [{"name": name, "arguments": {"name": "it"}} for name in ("erase", "find")]
    text = "".join(f"<tool_call>{json.dumps(call)}</tool_call> " for call in calls)
    model = tl.LLM("fake:", token_s=0.1, replies={"": text + "word " * 60})
    agent = tl.Agent("x", model, tools=[erase, find], max_tokens=80)

    async def cancelled() -> None:
        running = asyncio.create_task(agent.run("go"))
        while not log:
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(cancelled(), 60))
    assert log == ["found it"]


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[FakeContext]:
    """Those that fake models make from here on."""
    made: list[FakeContext] = []
    make = FakeLLM._context

    def kept(self: FakeLLM, *args: Any) -> FakeContext:
        made.append(make(self, *args))
        return made[-1]

    monkeypatch.setattr(FakeLLM, "_context", kept)
    return made


@pytest.mark.parametrize("url", ["fake:", "fake:sglang", "fake:api"])
def test_contexts_are_given_back_however_an_agent_ends(
    url: str, contexts: list[FakeContext]
) -> None:
    call = f"<tool_call>{CALL}</tool_call>"
    replies = {r"^<\|user\|>well.*<\|tool\|>": "done", "": call}
    model = tl.LLM(url, token_s=0.005, replies=replies)
    inner = tl.Agent("inner", model, tools=[half], max_turns=20, budget=tl.Budget(seconds=30))
    hasty = tl.Agent("hasty", model, tools=[half], max_turns=99, budget=tl.Budget(seconds=0.1))

    @tl.app
    def mapped(tasks: list[str]) -> list[str]:
        return tl.map(lambda task: inner(task), tasks)

    async def cancelled() -> None:
        running = asyncio.create_task(mapped.arun(["a", "b", "c"]))
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert mapped(["well 1", "well 2"]) == ["done"] * 2
    asyncio.run(cancelled())
    with pytest.raises(BudgetExceeded):
        hasty("d")
    with pytest.raises(QueryTimeout):
        inner.using(timeout_s=0.1)("e")
    with pytest.raises(BudgetExceeded, match="20 turns"):
        inner("f")
    assert len(contexts) > 10
    assert wait_until(lambda: all(context.released for context in contexts))


def wait_until(is_so: Callable[[], bool]) -> bool:
    """Whether it becomes so soon: a cancelled request ends on the engines' own loop."""
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()
