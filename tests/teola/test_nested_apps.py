"""`async def` apps called where nothing can be awaited: each is a session inside the run."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from runtime.events import Event
from teola.errors import ConfigError, NodeFailed, QueryTimeout, TraceError
from teola.viewer.reading import read_trace_file

llm = tl.LLM("fake:", replies={"stop": "stop", "": "word"})
slow = tl.LLM("fake:", token_s=0.05, name="slow", replies={"": "word " * 200})
log: list[str] = []
both_ways = pytest.mark.parametrize("optimize", [True, False])


@tl.prompt(llm)
def ask(text: str) -> str:
    return f"Ask {text}"


@tl.prompt(slow)
def ramble(text: str) -> str:
    return f"Talk about {text}"


@tl.tool
def note(text: str) -> str:
    log.append(text)
    return text


@tl.app
async def research(topic: str, rounds: int = 2) -> str:
    found = topic
    for _ in range(rounds):
        found += f" {await tl.value(ask(found))}"
    return found


@tl.app
async def fail(topic: str) -> str:
    if await tl.value(ask(topic)):
        raise LookupError(f"nothing about {topic}")
    return topic


@both_ways
def test_a_def_app_has_the_value_of_a_session(optimize: bool) -> None:
    @tl.app
    def outer(topic: str) -> list[str]:
        found = research(topic, rounds=1)
        return [found, ask(found)]

    assert outer.using(optimize=optimize)("tea") == ["tea word", "word"]
    (node,) = [node for node in outer.graph().nodes if node.op == "call"]
    assert node.attrs["engines"] == ["llm"]


@both_ways
def test_sessions_in_a_map_a_cond_and_a_loop(optimize: bool) -> None:
    @tl.tool(pure=True)
    def is_long(text: str) -> bool:
        return len(text) > 12

    @tl.app
    def outer(topics: list[str]) -> Any:
        mapped = tl.map(lambda topic: research(topic, 1), topics)
        chosen = tl.cond(is_long(mapped[0]), lambda: research("long"), lambda: research("short", 1))
        looped = tl.loop(lambda text: (research(text, 1), is_long(text)), mapped[1], max=3)
        return mapped, chosen, looped

    found = outer.using(optimize=optimize)(["tea", "coffee beans"])
    assert found == (
        ["tea word", "coffee beans word"],
        "short word",
        "coffee beans word word word word",
    )


@both_ways
def test_a_session_in_a_map_of_an_async_app(optimize: bool) -> None:
    @tl.app
    async def outer(topics: list[str]) -> list[str]:
        first = await tl.value(tl.map(lambda topic: research(topic, 1), topics))
        return await tl.value(tl.map(research, first))

    assert outer.using(optimize=optimize)(["a"]) == ["a word word word"]


def test_effects_of_sessions_keep_the_programs_order() -> None:
    @tl.app
    async def noted(text: str) -> str:
        await asyncio.sleep(0.02 if text == "1" else 0)
        return await tl.value(note(text))

    @tl.app
    def outer() -> str:
        note("0")
        tl.map(noted, ["1", "2"])
        return note("3")

    log.clear()
    outer()
    assert log == ["0", "1", "2", "3"]


def test_an_error_in_a_session_names_both_places() -> None:
    @tl.app
    def outer(topic: str) -> str:
        return fail(topic)

    @tl.app
    async def around(topic: str) -> str:
        try:
            return await tl.value(outer(topic))
        except LookupError as error:
            return f"{error} {error.__notes__}"

    place = f"test_nested_apps.py:{outer._function.__code__.co_firstlineno + 2}"
    assert around("tea").startswith("nothing about tea")
    assert place in around("tea")
    with pytest.raises(NodeFailed, match=rf"%fail \(.*{place}\) failed: LookupError: nothing"):
        outer("tea")


def test_a_tool_that_fails_in_a_session_is_named_with_its_line() -> None:
    @tl.tool
    def broken(text: str) -> str:
        raise ZeroDivisionError(text)

    @tl.app
    async def inner(text: str) -> str:
        return await tl.value(broken(text))

    @tl.app
    def outer(text: str) -> str:
        return inner(text)

    line = broken._function.__code__.co_firstlineno + 6
    with pytest.raises(NodeFailed, match=rf"%broken \(.*py:{line}\) failed: ZeroDivisionError: x"):
        outer("x")


def test_a_failure_is_taken_by_attempt() -> None:
    @tl.app
    def outer(topic: str) -> str:
        return tl.attempt(lambda: fail(topic), "none")

    assert outer("tea") == "none"


def test_cancelling_the_run_stops_the_session() -> None:
    ended: list[str] = []

    @tl.app
    async def inner(topic: str) -> str:
        try:
            return await tl.value(ramble(topic))
        finally:
            ended.append(topic)

    @tl.app
    def outer(topic: str) -> str:
        return inner(topic)

    async def run() -> None:
        task = asyncio.create_task(outer.arun("tea"))
        while not _is_running("slow"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while _is_running("slow") or not ended:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert ended == ["tea"]


def _is_running(name: str) -> bool:
    from teola.runner import default_runner

    runner: Any = default_runner()
    found = [s for s in runner._runtime._engines.schedulers.values() if s.name == name]
    return any(scheduler._running for scheduler in found)


def test_a_session_has_its_own_time_limit() -> None:
    @tl.app(timeout_s=0.1)
    async def inner(topic: str) -> str:
        return await tl.value(ramble(topic))

    @tl.app
    def outer(topic: str) -> str:
        return inner(topic)

    with pytest.raises(QueryTimeout, match=r"app inner\(\) did not finish within 0\.1 s"):
        outer("tea")


def test_engines_of_a_session_are_replaced_by_the_app_around() -> None:
    @tl.app
    def outer(topic: str) -> str:
        return research(topic, 1)

    @tl.app
    async def around(topics: list[str]) -> list[str]:
        return await tl.value(tl.map(lambda topic: research(topic, 1), topics))

    assert outer.using(engines={"llm": "fake:"})("tea").startswith("tea reply ")
    assert around.using(engines={"llm": "fake:"})(["tea"])[0].startswith("tea reply ")
    with pytest.raises(ConfigError, match="no engine named 'lm'"):
        outer.using(engines={"lm": "fake:"})("tea")


def test_a_session_keeps_its_own_engines_and_the_app_around_may_replace_them_again() -> None:
    @tl.app(engines={"llm": "fake:"})
    async def inner(topic: str) -> str:
        return await tl.value(ask(topic))

    @tl.app
    def outer(topic: str) -> list[str]:
        return [inner(topic), ask(topic)]

    inside, own = outer("tea")
    assert (inside.startswith("reply "), own) == (True, "word")
    url = "fake:?seed=7"
    again, _ = outer.using(engines={"inner.llm": url})("tea")
    assert again.startswith("reply ")


def test_a_trace_says_where_a_session_ran(tmp_path: Path) -> None:
    @tl.app
    def outer(topics: list[str]) -> list[str]:
        return tl.map(lambda topic: research(topic, 1), topics)

    path = tmp_path / "trace.jsonl"
    outer.using(trace=str(path), memo=False)(["a", "b"])
    first, *inside = read_trace_file(path).traces
    assert first.within == ""
    assert [trace.within.partition(".")[2] for trace in inside] == [
        "map[0].research",
        "map[1].research",
    ]
    assert {trace.within.partition(".")[0] for trace in inside} == {first.query}


def test_the_stream_of_an_app_ends_with_its_own_result() -> None:
    @tl.app
    def shown(topic: str) -> str:
        return research(topic, 1)

    @tl.app
    async def echo(topic: str) -> str:
        return ask(topic)

    @tl.app
    def direct(topic: str) -> str:
        return echo(topic)

    @tl.app
    def indirect(topic: str) -> list[str]:
        return [echo(topic)]

    assert _final(direct) == "word"
    assert _final(indirect) == ""
    events = list(shown.using(memo=False).stream("tea"))
    assert events[-1].kind == "done"
    assert events[-1].fields["result"] == "tea word"


def _final(app: tl.App[..., Any]) -> str:
    events = app.using(memo=False).stream("tea")
    return "".join(e.fields["text"] for e in events if e.kind == "text" and e.fields["final"])


def test_options_of_the_run_hold_in_its_sessions() -> None:
    @tl.app
    def outer(topic: str) -> str:
        return research(topic, 1)

    heard: list[Event] = []
    outer.using(optimize=False, memo=False, listener=heard.append)("tea")
    begun = [event.fields["optimized"] for event in heard if event.kind == "query"]
    assert begun == [False, False]


@pytest.mark.parametrize("option", [{"salt": "a"}, {"memo": False}])
def test_an_option_that_a_session_cannot_keep_is_refused(option: dict[str, Any]) -> None:
    inner = research.using(**option)

    @tl.app
    def outer(topic: str) -> str:
        return inner(topic)

    with pytest.raises(TraceError, match="which a part of another app cannot keep"):
        outer("tea")


def _plain_tool(text: str) -> str:
    return research(text, 1)


async def _async_tool(text: str) -> str:
    return await research.arun(text, 1)


@pytest.mark.parametrize("function", [_plain_tool, _async_tool])
def test_a_tool_of_an_async_app_may_call_an_app(function: Callable[..., Any]) -> None:
    tool: Any = tl.tool(function)

    @tl.app
    async def outer(text: str) -> str:
        return await tl.value(tool(text))

    assert outer("tea") == "tea word"


def test_a_session_on_the_virtual_clock_takes_its_time_there() -> None:
    @tl.app
    def outer(topics: list[str]) -> list[str]:
        return tl.map(research, topics)

    on_gpu = outer.using(engines={"llm": "emulated:h100/llama-3.1-8b"})
    one = tl.run_virtually(on_gpu, ["tea"]).seconds
    two = tl.run_virtually(on_gpu, ["tea", "coffee"]).seconds
    assert 0 < one < two
