"""Whole apps on fake engines: every door, both modes, and what goes wrong."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import teola as tl
from backends.place import Place
from backends.policy.base import Policy, Ticket
from runtime.cost.latency import NOTHING_MEASURED
from runtime.cost.sizes import DECODE_TOKENS
from runtime.engine_scheduler import EngineScheduler
from runtime.events import Event
from runtime.job import Job
from runtime.unread_options import OptionUnread
from teola import runner
from teola.errors import (
    ArgumentError,
    ConfigError,
    ListenerFailed,
    NodeFailed,
    OutputInvalid,
    QueryTimeout,
)
from teola.runner import AppRunner, default_runner
from teola.viewer.reading import read_trace_file

llm = tl.LLM("fake:", replies={"Say hello": "hello there my friend"})
slow = tl.LLM("fake:", token_s=0.05, replies={"": "word " * 200})
store = tl.Store("fake:", embedder=tl.Embedder("fake:"))
reranker = tl.Reranker("fake:")


class Queries(BaseModel):
    queries: list[str]


@tl.prompt(llm, out=Queries)
def expand(question: str) -> str:
    return f"Write queries for {question}"


@tl.prompt(llm)
def answer(question: str, docs: list[tl.Doc]) -> str:
    return f"Passages:\n{tl.join(docs)}\nQuestion: {question}"


@tl.app
def rag(question: str, texts: list[str], k: int = 2) -> str:
    index = store.index(passages(texts))
    hits = tl.map(lambda q: index.search(q, k=3), expand(question).queries)
    return answer(question, reranker(question, tl.flatten(hits), k=k))


@tl.tool(pure=True)
def passages(texts: list[str]) -> list[tl.Doc]:
    return [tl.Doc(text) for text in texts]


@tl.prompt(llm)
def greet(name: str) -> str:
    return f"Say hello to {name}"


@tl.app
def hello(name: str) -> str:
    return greet(name)


@tl.prompt(slow)
def ramble(topic: str) -> str:
    return f"Talk about {topic}"


@tl.app
def lecture(topic: str) -> str:
    return ramble(topic)


TEXTS = ["the sea is blue", "grass is green", "the sun is yellow"]


def test_the_optimized_run_gives_the_plain_runs_answer() -> None:
    fast = rag("which colour is the sea?", TEXTS)
    plain = rag.using(optimize=False)("which colour is the sea?", TEXTS)
    assert fast == plain
    assert fast.startswith("reply ")


def test_the_optimized_run_overlaps_what_the_plain_run_does_in_turn() -> None:
    def overlaps(events: list[Event]) -> bool:
        began = {e.node: e.t for e in events if e.kind == "start"}
        ended = {e.node.split("#")[0]: e.t for e in events if e.kind == "end"}
        return began["expand.prompt"] < ended["index"]

    heard: dict[bool, list[Event]] = {True: [], False: []}
    for mode, events in heard.items():
        rag.using(optimize=mode, listener=events.append)("sea?", TEXTS)
    assert overlaps(heard[True])
    assert not overlaps(heard[False])


def test_an_app_can_be_awaited() -> None:
    assert asyncio.run(hello.arun("Ada")) == "hello there my friend"


def test_an_app_can_be_called_inside_a_running_loop_as_in_a_notebook() -> None:
    async def cell() -> str:
        return hello("Ada")

    assert asyncio.run(cell()) == "hello there my friend"


def test_many_calls_run_as_one_batch_in_order() -> None:
    assert hello.batch([{"name": "Ada"}, {"name": "Bob"}]) == ["hello there my friend"] * 2


def test_a_failed_call_of_a_batch_leaves_its_exception_in_its_place() -> None:
    @tl.tool
    def pick(name: str) -> str:
        if name == "Bob":
            raise ValueError("not Bob")
        return name

    @tl.app
    def checked(name: str) -> str:
        return greet(pick(name))

    good, bad = checked.batch([{"name": "Ada"}, {"name": "Bob"}])
    assert good == "hello there my friend"
    assert isinstance(bad, NodeFailed)
    assert "not Bob" in str(bad)


def test_streaming_gives_the_answers_tokens_and_then_done() -> None:
    events = list(hello.stream("Ada"))
    text = "".join(e.fields["text"] for e in events if e.kind == "text" and e.fields["final"])
    assert text == "hello there my friend"
    assert events[0].kind == "query"
    assert events[-1].kind == "done"


class Heard(list[Event]):
    """The events of one query, and two moments to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.is_over = threading.Event(), threading.Event()

    def __call__(self, event: Event) -> None:
        self.append(event)
        moments = {"first_token": self.has_begun, "done": self.is_over}
        if event.kind in moments:
            moments[event.kind].set()


def test_leaving_a_stream_early_cancels_the_query() -> None:
    heard = Heard()
    stream: Iterator[Event] = lecture.using(listener=heard).stream("tea")
    for event in stream:
        if event.kind == "text":
            break
    del stream, event
    assert heard.is_over.wait(30)
    assert heard[-1].fields["status"] == "QueryCancelled"


def test_a_timeout_ends_the_query() -> None:
    with pytest.raises(QueryTimeout):
        lecture.using(timeout_s=0.2)("tea")


def test_cancelling_the_awaiting_task_cancels_the_query() -> None:
    heard = Heard()

    async def main() -> None:
        task = asyncio.create_task(lecture.using(listener=heard).arun("tea"))
        assert await asyncio.to_thread(heard.has_begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert heard.is_over.wait(30)
    assert heard[-1].fields["status"] == "QueryCancelled"


def test_an_engine_is_replaced_by_name() -> None:
    assert hello.using(engines={"llm": "fake:"})("Ada").startswith("reply ")


def test_replacing_an_engine_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(ConfigError, match="no engine named 'gpt'; it has llm"):
        hello.using(engines={"gpt": "fake:"})("Ada")


def test_a_failure_names_the_users_line() -> None:
    @tl.tool
    def boom(name: str) -> str:
        raise KeyError(name)

    @tl.app
    def app(name: str) -> str:
        return greet(boom(name))

    with pytest.raises(NodeFailed, match=r"test_apps\.py:\d+\) failed"):
        app("x")


def test_an_async_tool_is_awaited_and_may_call_an_app() -> None:
    @tl.tool
    async def ask(name: str) -> str:
        return await hello.arun(name)

    @tl.app
    def app(name: str) -> str:
        return f"<{ask(name)}>"

    assert app("Ada") == "<hello there my friend>"


def test_calling_an_app_from_the_engines_own_loop_is_told_not_hung() -> None:
    @tl.tool
    async def ask(name: str) -> str:
        return hello(name)

    @tl.app
    def app(name: str) -> str:
        return f"<{ask(name)}>"

    with pytest.raises(NodeFailed, match=r"await app\.arun"):
        app("Ada")


def test_apps_may_be_called_from_many_threads() -> None:
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(hello("x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["hello there my friend"] * 8


def test_a_trace_file_holds_the_graph_and_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "t.jsonl"
    rag.using(trace=str(path))("sea?", TEXTS)
    lines = path.read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert events[0]["app"] == "rag"
    assert "graph rag {" in events[0]["graph"]
    assert events[0]["origins"]["map[].search"][0] == "map/search"
    ended = {e["node"].split("#")[0] for e in events if e["kind"] == "end"}
    assert {"index", "map[0].search", "map[1].search", "answer"} <= ended
    assert events[-1]["status"] == "ok"


def test_a_trace_of_a_batch_holds_all_its_queries(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    hello.using(trace=str(path)).batch([{"name": "Ada"}, {"name": "Bob"}])
    assert len(read_trace_file(path).traces) == 2


def test_a_plan_shows_the_graph_before_and_after_and_what_each_pass_did() -> None:
    plan = rag.explain()
    assert "before:" in plan
    assert "prune_dependencies: " in plan
    assert "after:" in plan
    assert plan.index("after %index") < plan.index("passes:")


def test_a_runner_can_be_closed_and_used_again() -> None:
    runner = AppRunner()
    program, inputs = hello._prepare(("Ada",), {})
    assert runner.run(program, inputs, hello.options) == "hello there my friend"
    runner.close()
    assert runner.run(program, inputs, hello.options) == "hello there my friend"
    runner.close()


def test_policies_see_what_the_plan_says_of_each_primitive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Ticket] = []
    submit = EngineScheduler.submit

    def spy(scheduler: EngineScheduler, job: Job) -> None:
        seen.append(job)
        submit(scheduler, job)

    monkeypatch.setattr(EngineScheduler, "submit", spy)
    runner = AppRunner()
    bulk = hello.using(objective="throughput")
    for app in (hello, bulk):
        program, inputs = app._prepare(("Ada",), {})
        runner.run(program, inputs, app.options)
    runner.close()
    prefill, decode, *_ = hints = [ticket.hint for ticket in seen]
    assert [hint.kind for hint in hints] == ["latency", "latency", "throughput", "throughput"]
    assert [hint.depth for hint in hints] == [1, 0, 1, 0]
    assert decode.level_s == DECODE_TOKENS * NOTHING_MEASURED.seconds("decode", 1)
    assert prefill.level_s > decode.level_s


def test_policies_see_for_whom_a_run_is_and_by_when(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Place] = []
    submit = EngineScheduler.submit

    def spy(scheduler: EngineScheduler, job: Job) -> None:
        seen.append(job.place)
        submit(scheduler, job)

    monkeypatch.setattr(EngineScheduler, "submit", spy)
    with pytest.warns(OptionUnread):
        hello.using(tenant="ada", deadline_s=30.0)("Ada")
    hello.using(salt="bob")("Bob")
    hello("Cyd")
    assert [place.tenant for place in seen] == ["ada", "ada", "bob", "bob", "", ""]
    assert [place.deadline_s is None for place in seen] == [False, False, True, True, True, True]
    assert len({place.program for place in seen}) == 3
    assert seen[0].node == "hello.greet.prompt"
    assert seen[0].work_s == seen[1].work_s > seen[1].left_s


def test_all_segments_of_a_run_are_of_one_program_and_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Place] = []
    submit = EngineScheduler.submit

    def spy(scheduler: EngineScheduler, job: Job) -> None:
        seen.append(job.place)
        submit(scheduler, job)

    both = Policy("both", rank=lambda ticket: (ticket.place.tenant, ticket.place.deadline_s))

    @tl.app
    async def twice(name: str) -> str:
        first = await tl.value(greet(name))
        return await tl.value(greet(f"{first} again"))

    monkeypatch.setattr(EngineScheduler, "submit", spy)
    twice.using(tenant="ada", deadline_s=30.0, policy=both)("Ada")
    assert len({place.query for place in seen}) == 2
    assert len({(place.program, place.deadline_s, place.tenant) for place in seen}) == 1


@pytest.mark.parametrize("options", [{"tenant": ""}, {"tenant": 3}, {"deadline_s": 0}])
def test_a_tenant_is_a_text_and_a_deadline_is_ahead(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tenant is a text|must be above 0"):
        hello.using(**options)


def test_an_unknown_policy_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown policy 'lifo'; known: application_aware, atlas"):
        hello.using(policy="lifo")("Ada")


def test_an_objective_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match="'latency' or 'throughput', not 'soon'"):
        hello.using(objective="soon")


def test_there_is_one_runner_in_a_process() -> None:
    assert default_runner() is default_runner()


def test_a_tool_outside_of_an_app_is_the_function_itself() -> None:
    result: Any = passages(["x"])
    assert result == [tl.Doc("x")]


def test_a_listener_that_raises_ends_its_own_query_only() -> None:
    def bad(event: Event) -> None:
        if event.kind == "end":
            raise OSError("disk full")

    async def both() -> list[Any]:
        runs = [hello.using(listener=bad).arun("Ada"), hello.arun("Bob")]
        return await asyncio.wait_for(asyncio.gather(*runs, return_exceptions=True), 60)

    failed, fine = asyncio.run(both())
    assert isinstance(failed, ListenerFailed)
    assert "disk full" in str(failed)
    assert fine == "hello there my friend"


def test_a_value_cut_by_max_tokens_is_no_value() -> None:
    brief = tl.LLM("fake:", replies={"": "12345 678"})

    @tl.prompt(brief, out=int, max_tokens=1)
    def count(text: str) -> str:
        return f"Count {text}"

    @tl.app
    def app(text: str) -> int:
        return count(text)

    with pytest.raises(OutputInvalid, match="raise max_tokens"):
        app("x")


def test_first_calls_from_many_threads_share_one_runner() -> None:
    runner._default_runner.cache_clear()
    found: list[AppRunner] = []
    gate = threading.Barrier(8)

    def call() -> None:
        gate.wait()
        found.append(default_runner())

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_components_with_names_can_be_replaced_one_by_one() -> None:
    one, two = tl.LLM("fake:", name="writer"), tl.LLM("fake:", name="judge")

    @tl.prompt(one)
    def write(text: str) -> str:
        return f"Write {text}"

    @tl.prompt(two)
    def judge(text: str) -> str:
        return f"Judge {text}"

    @tl.app
    def app(text: str) -> str:
        return judge(write(text))

    assert sorted({n.attrs["engine"] for n in app.graph().nodes if n.op == "decode"}) == [
        "judge",
        "writer",
    ]
    app.using(engines={"judge": "fake:"})("x")


def test_a_wrongly_called_one_of_a_batch_leaves_its_exception_in_its_place() -> None:
    good, bad = hello.batch([{"name": "Ada"}, {"nom": "Bob"}])
    assert good == "hello there my friend"
    assert isinstance(bad, ArgumentError)


def test_reading_tools_keep_their_place_among_those_that_write(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("old")

    @tl.tool
    def write(text: str) -> str:
        time.sleep(0.05)
        path.write_text(text)
        return text

    @tl.app
    def app(text: str, folder: list[str]) -> list[tl.Doc]:
        write(text)
        return tl.load(folder)

    assert [doc.text for doc in app("new", [str(path)])] == ["new"]
