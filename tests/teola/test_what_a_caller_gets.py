"""Streams that end with the result, effects-only apps, batches, options of inlined apps."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from runtime.events import Event
from teola.errors import ALL, ArgumentError, ConfigError, NodeFailed, QueryTimeout, TraceError

llm = tl.LLM("fake:", replies={"Draft": "a secret draft", "Final": "the answer"})
other = tl.LLM("fake:", name="other", replies={"": "said by the other"})
slow = tl.LLM("fake:", token_s=0.05, replies={"": "word " * 200})


@tl.prompt(llm)
def draft(topic: str) -> str:
    return f"Draft {topic}"


@tl.prompt(llm)
def final(topic: str) -> str:
    return f"Final {topic}"


@tl.prompt(other)
def ask_other(topic: str) -> str:
    return f"Tell {topic}"


@tl.prompt(slow)
def ramble(topic: str) -> str:
    return f"Talk about {topic}"


@tl.app
def answer(topic: str) -> str:
    return final(topic)


@tl.app
async def polished(topic: str) -> str:
    await tl.value(draft(topic))
    return final(topic)


@tl.app
def lecture(topic: str) -> str:
    return ramble(topic)


@tl.app
async def long_lecture(topic: str) -> str:
    return await tl.value(ramble(topic))


def final_text(events: Iterator[Event]) -> str:
    return "".join(e.fields["text"] for e in events if e.kind == "text" and e.fields["final"])


async def gathered(app: Any, *args: Any) -> list[Event]:
    return [event async for event in app.astream(*args)]


# Streams


@pytest.mark.parametrize("app", [answer, polished])
def test_a_stream_ends_with_the_result(app: Any) -> None:
    *before, last = app.stream("tea")
    assert (last.kind, last.fields["status"], last.fields["result"]) == ("done", "ok", "the answer")
    assert not any("result" in event.fields for event in before)
    num_ends = sum(event.kind == "done" for event in before)
    assert num_ends == (2 if app is polished else 0)  # its segments, each a query


@pytest.mark.parametrize("app", [answer, polished])
def test_a_stream_can_be_read_on_the_callers_own_loop(app: Any) -> None:
    events = asyncio.run(gathered(app, "tea"))
    assert events[0].kind == "query"
    assert events[-1].fields["result"] == "the answer"
    assert [e.kind for e in events] == [e.kind for e in app.stream("tea")]


@pytest.mark.parametrize("app", [lecture, long_lecture])
def test_the_callers_loop_stays_free_while_a_stream_is_read(app: Any) -> None:
    async def count_ticks() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        task = asyncio.create_task(tick())
        async with aclosing(app.astream("tea")) as events:
            async for event in events:
                if event.kind == "text" and ticks >= 3:
                    break
        task.cancel()
        return ticks

    assert asyncio.run(count_ticks()) >= 3


@pytest.mark.parametrize("app", [lecture, long_lecture])
def test_leaving_an_async_stream_early_cancels_the_query(app: Any) -> None:
    ended = threading.Event()
    heard: list[Event] = []

    def listen(event: Event) -> None:
        heard.append(event)
        if event.kind == "done":
            ended.set()

    async def first_word() -> None:
        async for event in app.using(listener=listen).astream("tea"):
            if event.kind == "text":
                break

    asyncio.run(first_word())
    assert ended.wait(60)
    assert heard[-1].fields["status"] == "QueryCancelled"


def test_a_stream_that_nobody_reads_runs_nothing() -> None:
    heard: list[Event] = []
    stream = lecture.using(listener=heard.append).stream("tea")
    del stream
    assert answer("tea") == "the answer"
    assert heard == []


@pytest.mark.parametrize("app", [lecture, long_lecture])
def test_a_failed_stream_tells_its_end_and_raises(app: Any) -> None:
    events: list[Event] = []
    with pytest.raises(QueryTimeout):
        events.extend(app.using(timeout_s=0.05).stream("tea"))
    seen: list[Event] = []

    async def read() -> None:
        async for event in app.using(timeout_s=0.05).astream("tea"):
            seen.append(event)  # noqa: PERF401  (what came before the error counts)

    with pytest.raises(QueryTimeout):
        asyncio.run(read())
    assert (seen[-1].kind, seen[-1].fields["status"]) == ("done", "QueryTimeout")


def test_wrong_arguments_of_a_stream_are_refused_at_once() -> None:
    with pytest.raises(ArgumentError, match="no argument 'theme'"):
        answer.stream(theme="tea")  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="no argument 'theme'"):
        answer.astream(theme="tea")  # type: ignore[call-arg]


def test_a_result_that_json_cannot_say_stays_out_of_the_trace_file(tmp_path: Path) -> None:
    class Odd:
        pass

    @tl.tool
    def odd() -> Any:
        return Odd()

    @tl.app
    def app() -> Any:
        return odd()

    path = tmp_path / "t.jsonl"
    (*_, last) = app.using(trace=str(path)).stream()
    assert isinstance(last.fields["result"], Odd)
    done = json.loads(path.read_text().splitlines()[-1])
    assert (done["kind"], done["status"]) == ("done", "ok")
    assert "result" not in done


# Which text is final


def test_only_the_text_that_the_app_returns_is_final() -> None:
    @tl.app
    def app(topic: str) -> str:
        return final(draft(topic))

    assert final_text(app.stream("tea")) == "the answer"


def test_texts_inside_bodies_are_never_final() -> None:
    @tl.app
    def app(topics: list[str], good: str) -> str:
        drafts = tl.map(draft, topics)
        either = tl.cond(good, lambda: draft("x"), lambda: draft("y"))
        again = tl.loop(lambda text: (draft(text), False), good, max=2)
        return final(tl.join([tl.join(drafts), either, again]))

    events = list(app.using(optimize=False).stream(["a", "b"], "yes"))
    assert {e.node for e in events if e.kind == "text"} > {"map[0].draft", "final"}
    assert {e.node for e in events if e.kind == "text" and e.fields["final"]} == {"final"}


def test_a_text_inside_a_body_is_not_final_where_the_body_is_the_result() -> None:
    @tl.app
    def app(topics: list[str]) -> list[str]:
        return tl.map(final, topics)

    assert final_text(app.stream(["a", "b"])) == ""


def test_a_part_of_the_result_is_not_final() -> None:
    @tl.app
    def app(topic: str) -> dict[str, str]:
        return {"draft": draft(topic), "final": final(topic)}

    events = list(app.stream("tea"))
    assert final_text(iter(events)) == ""
    assert events[-1].fields["result"] == {"draft": "a secret draft", "final": "the answer"}


# Effects-only apps


def test_an_app_of_effects_only_runs_them_and_gives_none() -> None:
    sent: list[str] = []

    @tl.tool
    def send(text: str) -> None:
        sent.append(text)

    @tl.app
    def app(topic: str) -> None:
        send(final(topic))

    @tl.app
    def over(topics: list[str]) -> None:
        tl.map(send, topics)

    for each in (app, app.using(optimize=False)):
        assert each.batch([{"topic": "tea"}]) == [None]
    assert sent == ["the answer"] * 2
    assert over.batch([["a", "b"]]) == [None]
    assert sorted(sent[2:]) == ["a", "b"]


def test_a_failing_effect_of_an_app_that_returns_nothing_is_raised() -> None:
    @tl.tool
    def send(text: str) -> None:
        raise OSError(text)

    @tl.app
    def app(topic: str) -> None:
        send(topic)

    with pytest.raises(NodeFailed, match="OSError: tea"):
        app("tea")


def test_an_app_that_neither_returns_nor_does_anything_is_refused() -> None:
    @tl.app
    def app(topic: str) -> None:
        final(topic)

    with pytest.raises(TraceError, match=r"returned nothing, and nothing in it has effects"):
        app("tea")


# Batches


def test_a_call_of_a_batch_may_be_the_first_argument_itself() -> None:
    assert answer.batch(["tea", {"topic": "x"}]) == ["the answer"] * 2
    assert polished.batch(topic for topic in ("tea", "milk")) == ["the answer"] * 2


def test_results_of_a_batch_keep_the_order_of_the_calls() -> None:
    @tl.tool
    def echo(text: str) -> str:
        return text

    @tl.app
    def app(text: str) -> str:
        return echo(text)

    names = [str(i) for i in range(40)]
    assert app.batch(names) == names


def test_a_batch_of_one_text_is_told_what_to_pass() -> None:
    with pytest.raises(ArgumentError, match="takes a list of calls, not 'tea'"):
        answer.batch("tea")


def test_a_batch_of_async_apps_keeps_failures_apart_and_writes_one_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    good, bad = polished.using(trace=str(path)).batch(["tea", {"theme": "x"}])
    assert good == "the answer"
    assert isinstance(bad, ArgumentError)
    polished.using(trace=str(path)).batch(["tea", "milk"])
    queries = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(event["kind"] == "query" for event in queries) == 4  # two segments each


# Options


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_timeout_is_above_zero(seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"timeout_s is .*; it must be above 0"):
        answer.using(timeout_s=seconds)


def test_an_engine_is_replaced_by_a_url_and_nothing_else() -> None:
    with pytest.raises(ConfigError, match=r"engines= gives 'llm' a URL, .*; got LLM\('fake:'\)"):
        answer.using(engines={"llm": other})


def test_an_async_app_that_takes_too_long_in_python_raises_the_typed_timeout() -> None:
    @tl.app(timeout_s=0.05)
    async def app(topic: str) -> str:
        await asyncio.sleep(5)
        return topic

    with pytest.raises(QueryTimeout, match=r"app app\(\) did not finish within 0.05 s"):
        list(app.stream("tea"))
    (failed,) = app.batch(["tea"])
    assert isinstance(failed, ALL)


def test_a_timeout_that_the_app_raises_itself_stays_its_own() -> None:
    @tl.app(timeout_s=5)
    async def app(topic: str) -> str:
        raise TimeoutError(topic)

    run: Any = app
    with pytest.raises(TimeoutError, match="^tea$"):
        run("tea")


@tl.app
async def two(topic: str) -> str:
    first = await tl.value(draft(topic))
    return ask_other(first)


def test_engines_of_an_async_app_are_replaced_by_name_whichever_part_uses_them() -> None:
    run: Any = two
    assert run("tea") == "said by the other"
    assert run.using(engines={"other": "fake:"})("tea").startswith("reply ")
    assert run.using(engines={"llm": "fake:"})("tea") == "said by the other"


def test_a_wrong_engine_name_of_an_async_app_is_told_before_anything_runs() -> None:
    heard: list[Event] = []
    run: Any = two.using(engines={"smal": "fake:"}, listener=heard.append)
    with pytest.raises(ConfigError, match=r"no engine named 'smal'; it has llm, other, python"):
        run("tea")
    assert heard == []


def test_an_async_app_that_makes_components_itself_is_told_at_its_end() -> None:
    @tl.app
    async def app(topic: str) -> str:
        inner = tl.LLM("fake:", name="inner", replies={"": "inner"})

        @tl.prompt(inner)
        def ask(text: str) -> str:
            return f"Ask {text}"

        return await tl.value(ask(topic))

    run: Any = app
    assert run("tea") == "inner"
    assert run.using(engines={"inner": "fake:"})("tea").startswith("reply ")
    with pytest.raises(ConfigError, match="no engine named 'outer'; it has inner"):
        run.using(engines={"outer": "fake:"})("tea")
