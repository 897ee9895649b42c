"""`async def` apps: graph breaks, on fake engines."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from frontend_dsl.bounded import BoundedCache
from runtime.events import Event
from teola.errors import ArgumentError, NodeFailed, QueryTimeout, SymbolicError, TraceError
from teola.viewer.reading import read_trace_file

REPLIES = {
    "Judge good": "yes",
    "Judge": "no",
    "Improve": "good draft",
    "Write": "first draft",
    "Research": "facts",
    "Plan": '{"parts": ["a", "b"]}',
    "Part": "text",
}
llm = tl.LLM("fake:", replies=REPLIES)
slow = tl.LLM("fake:", token_s=0.3, replies={"": "slow answer"}, num_slots=8)


class Plan(BaseModel):
    parts: list[str]


@tl.prompt(llm)
def judge(draft: str) -> str:
    return f"Judge {draft}"


@tl.prompt(llm)
def write(topic: str) -> str:
    return f"Write about {topic}"


@tl.prompt(llm)
def improve(draft: str, notes: str) -> str:
    return f"Improve {draft} with {notes}"


@tl.prompt(llm)
def research(topic: str) -> str:
    return f"Research {topic}"


@tl.prompt(llm, out=Plan)
def plan(topic: str) -> str:
    return f"Plan {topic}"


@tl.prompt(llm)
def part(name: str) -> str:
    return f"Part {name}"


@tl.prompt(slow)
def ponder(topic: str) -> str:
    return f"Ponder {topic}"


@tl.app
async def agent(topic: str, rounds: int = 3) -> str:
    notes, draft = research(topic), write(topic)
    for _ in range(rounds):
        if await tl.value(judge(draft)) == "yes":
            break
        draft = improve(draft, notes)
    return draft


def test_plain_python_follows_real_values() -> None:
    assert agent("tea") == "good draft"
    assert asyncio.run(agent.arun("tea")) == "good draft"
    assert agent("tea", rounds=0) == "first draft"


def test_the_plain_mode_gives_the_same() -> None:
    assert agent.using(optimize=False)("tea") == "good draft"


def test_segments_are_compiled_once_for_each_shape() -> None:
    fresh = agent.using()
    fresh._segments = BoundedCache(64)
    fresh("tea")
    count = len(fresh._segments)
    fresh("another topic, with other words")
    assert len(fresh._segments) == count == 2


def test_values_between_breaks_start_together() -> None:
    @tl.app
    async def both(topic: str) -> str:
        first, second = ponder(topic), ponder(f"{topic} again")
        return await tl.value(first) + "|" + await tl.value(second)

    heard: list[Event] = []
    assert both.using(listener=heard.append)("x") == "slow answer|slow answer"
    decodes = [event.kind for event in heard if event.op == "decode"]
    assert [kind for kind in decodes if kind in ("start", "end")] == ["start"] * 2 + ["end"] * 2


def test_a_break_does_not_wait_for_what_it_does_not_need() -> None:
    heard: list[Event] = []

    @tl.app
    async def app(topic: str) -> str:
        late = ponder(topic)
        await tl.value(judge(topic))
        ended = [event for event in heard if event.kind == "end" and event.op == "decode"]
        assert len(ended) == 1
        return f"{late}"

    assert app.using(listener=heard.append)("x") == "slow answer"


def test_real_lists_are_iterated_and_results_collected() -> None:
    @tl.app
    async def app(topic: str) -> list[str]:
        found = await tl.value(plan(topic))
        return [part(name) for name in found.parts]

    assert app("x") == ["text", "text"]


def test_effects_keep_their_order_across_breaks() -> None:
    log: list[str] = []

    @tl.tool
    def note(text: str) -> str:
        time.sleep(0.05 if text == "first" else 0.0)
        log.append(text)
        return text

    @tl.app
    async def app(topic: str) -> str:
        note("first")
        await tl.value(judge(topic))
        note("second")
        return await tl.value(judge(topic))

    app("x")
    assert log == ["first", "second"]


def test_an_effect_nobody_reads_still_happens() -> None:
    log: list[str] = []

    @tl.tool
    def note(text: str) -> None:
        log.append(text)

    @tl.app
    async def app(topic: str) -> str:
        note(topic)
        return "done"

    assert app("x") == "done"
    assert log == ["x"]


def test_a_failure_in_a_segment_reaches_the_await() -> None:
    @tl.tool
    def boom(topic: str) -> str:
        raise KeyError(topic)

    @tl.app
    async def app(topic: str) -> str:
        return await tl.value(judge(boom(topic)))

    with pytest.raises(NodeFailed, match="KeyError") as caught:
        app("x")
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_app_may_catch_a_failure_and_go_on() -> None:
    @tl.tool
    def boom(topic: str) -> str:
        raise KeyError(topic)

    @tl.app
    async def app(topic: str) -> str:
        with pytest.raises(KeyError) as caught:
            await tl.value(boom(topic))
        failure = tl.errors.failure_of(caught.value)
        assert failure is not None
        assert failure.node == "boom"
        assert "test_async_apps.py" in caught.value.__notes__[0]
        return await tl.value(judge("good"))

    assert app("x") == "yes"


def test_cancelling_ends_the_segments() -> None:
    @tl.app
    async def app(topic: str) -> str:
        return await tl.value(ponder(topic))

    heard: list[Event] = []
    is_begun, is_over = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        heard.append(event)
        if event.kind == "first_token":
            is_begun.set()
        if event.kind == "done":
            is_over.set()

    async def main() -> None:
        task = asyncio.create_task(app.using(listener=listen).arun("x"))
        assert await asyncio.to_thread(is_begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert is_over.wait(30)
    assert heard[-1].fields["status"] == "QueryCancelled"


def test_a_timeout_covers_the_whole_app() -> None:
    @tl.app
    async def app(topic: str) -> str:
        await tl.value(ponder(topic))
        return await tl.value(ponder("more"))

    with pytest.raises(QueryTimeout, match=r"app\(\) did not finish within 0.8 s"):
        app.using(timeout_s=0.8)("x")


def test_streaming_gives_the_events_of_all_segments() -> None:
    kinds = [event.kind for event in agent.stream("tea")]
    assert kinds.count("query") == 2
    assert kinds[-1] == "done"


def test_a_batch_of_async_apps_keeps_order_and_failures() -> None:
    good, bad = agent.batch([{"topic": "tea"}, {"subject": "tea"}])
    assert good == "good draft"
    assert isinstance(bad, ArgumentError)


def test_one_trace_file_holds_all_segments(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    agent.using(trace=str(path))("tea")
    assert [trace.status for trace in read_trace_file(path).traces] == ["ok", "ok"]


def test_the_graph_of_an_async_app_is_not_to_be_had_ahead() -> None:
    with pytest.raises(TraceError, match="come to be while it runs"):
        agent.graph()


@pytest.mark.parametrize("optimize", [True, False])
def test_a_text_made_of_values_before_a_break_is_a_text_behind_it(optimize: bool) -> None:
    @tl.prompt(llm)
    def argue(side: str, history: str) -> str:
        return f"{side} after: {history}"

    @tl.app
    async def debate() -> list[str]:
        history, seen = "start", []
        for number in range(3):
            pro, con = argue("pro", history), argue("con", history)
            history = f"{history}, {number}: {pro} against {con}"
            seen.append(await tl.value(argue("judge", history)))
        return [*seen, f"{history}"]

    first, second, third, history = debate.using(optimize=optimize)()
    assert len({first, second, third}) == 3
    assert history.startswith("start, 0: reply ")
    assert history.count(" against reply ") == 3


def test_the_failure_that_is_raised_is_not_replaced_by_a_later_one_of_its_segment() -> None:
    @tl.tool(pure=True)
    def fail(word: str) -> str:
        raise ValueError(word)

    @tl.tool
    def send(word: str) -> str:
        return word

    @tl.app
    async def app() -> list[str]:
        first = fail("first")
        send("x")
        return [first, fail("second")]

    with pytest.raises(NodeFailed, match="ValueError: first"):
        app()


def test_a_set_of_texts_is_made_real_and_an_object_that_holds_a_value_is_refused() -> None:
    @tl.app
    async def texts(topic: str) -> set[str]:
        return {f"on {judge(topic)}", "x"}

    @tl.app
    async def hidden(topic: str) -> Any:
        return Held(f"on {judge(topic)}")

    assert texts("x") == {"on no", "x"}
    with pytest.raises(SymbolicError, match=r"Held\.text holds a value of the run"):
        hidden("x")


class Held:
    def __init__(self, text: str) -> None:
        self.text = text


def test_an_async_app_inside_another_may_be_given_to_value() -> None:
    """`await inner(x)` works as well, but type checkers see the declared type there."""

    @tl.app
    async def inner(question: str) -> str:
        return f"{question}!"

    @tl.app
    async def outer(question: str) -> str:
        first = await tl.value(inner(question))
        return await tl.value(inner(first))

    assert outer("x") == "x!!"
