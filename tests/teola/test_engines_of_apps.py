"""Engines as apps use them: made once, named by each app, ordered by policies, added by others."""

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from backends import registry
from backends.base import Engine
from backends.registry import EngineSpec
from graph_opt.graph import Graph, Node
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency, LatencyModel
from runtime.cost.profile_store import Latencies
from runtime.events import Event
from teola import known_engines, plans
from teola.errors import ConfigError
from teola.known_engines import EngineBook, KnownEngine, KnownEngines
from teola.runner import AppRunner

ACME = """
from backends.fake.llm import FakeLLM

class Counted(FakeLLM):
    made = []
    num_closed = 0

    async def close(self):
        Counted.num_closed += 1

def create(kind, url, options):
    Counted.made.append(Counted(url, options))
    return Counted.made[-1]
"""


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An installed package that serves `counted:`; knows how many engines it made and closed."""
    (tmp_path / "acme_engines.py").write_text(ACME)
    about = tmp_path / "acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    group = f"[{registry.ENTRY_POINT_GROUP}]\nllm.counted = acme_engines:create\n"
    (about / "entry_points.txt").write_text(group)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._added.cache_clear()
    yield importlib.import_module("acme_engines").Counted
    del sys.modules["acme_engines"]
    registry._added.cache_clear()


def hello_app(url: str, **options: Any) -> Any:
    model = tl.LLM(url, **options)

    @tl.prompt(model)
    def greet(name: str) -> str:
        return f"Say hello to {name}"

    @tl.app
    def hello(name: str) -> str:
        return greet(name)

    return hello


def run_on(runner: AppRunner, app: Any, name: str = "Ada") -> Any:
    program, inputs = app._prepare((name,), {})
    return runner.run(program, inputs, app.options)


def test_a_scheme_of_an_entry_point_serves_apps_and_its_engine_is_made_once(
    counted: Any,
) -> None:
    runner, app = AppRunner(), hello_app("counted:x", replies={"": "hi"})
    runner.plan(app._prepare(("Ada",), {})[0], app.options)
    assert run_on(runner, app) == run_on(runner, app) == "hi"
    assert len(counted.made) == 1
    assert counted.made[0].journal
    runner.close()
    assert counted.num_closed == 1
    assert run_on(runner, app) == "hi"
    assert len(counted.made) == 2
    runner.close()


def test_an_engine_that_was_made_for_a_plan_only_is_closed(counted: Any) -> None:
    runner, app = AppRunner(), hello_app("counted:y")
    runner.plan(app._prepare(("Ada",), {})[0], app.options)
    assert (len(counted.made), counted.num_closed) == (1, 0)
    runner.close()
    assert counted.num_closed == 1


def test_an_engine_that_could_not_be_made_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(spec: EngineSpec) -> Engine:
        raise ConfigError(f"{spec.url} is not on this machine")

    book, spec = EngineBook(Latencies()), EngineSpec("llm", "fake:")
    with monkeypatch.context() as patch:
        patch.setattr(known_engines, "create", missing)
        lost = book.known({"llm": spec})
    found = book.known({"llm": spec})
    assert (lost.engines["llm"].info is None, found.engines["llm"].info is None) == (True, False)
    assert lost.key != found.key  # so that a plan of then is not used now


def test_events_name_an_engine_as_the_app_that_runs_does() -> None:
    first = hello_app("fake:", max_context_tokens=77)
    second = hello_app("fake:", max_context_tokens=77, name="twin")

    def names(app: Any) -> set[str]:
        events: list[Event] = list(app.using(memo=False).stream("x"))
        return {e.fields["engine"] for e in events if e.kind in ("ready", "start")}

    assert (names(first), names(second)) == ({"llm"}, {"twin"})


def test_a_policy_is_chosen_by_name_and_an_unknown_one_is_told() -> None:
    app = hello_app("fake:", replies={"": "hi"})
    assert app.using(policy="fcfs")("Ada") == "hi"
    with pytest.raises(ConfigError, match="unknown policy 'lifo'; known: .*dlpm, fcfs"):
        app.using(policy="lifo")("Ada")


def test_apps_that_want_an_engine_ordered_differently_cannot_run_at_once() -> None:
    app = hello_app("fake:", replies={"": "word " * 50}, token_s=0.05)
    stream = app.using(policy="fcfs", memo=False).stream("Ada")
    next(stream)
    with pytest.raises(ConfigError, match=r"cannot be ordered by policy 'topology' now: .*'fcfs'"):
        app.using(policy="topology", memo=False)("Bob")
    stream.close()


def test_passes_of_ones_own_run_after_teolas() -> None:
    seen: list[str] = []

    def mine(graph: Graph) -> Graph:
        seen.append(graph.name)
        return graph

    app = hello_app("fake:", replies={"": "hi"})
    assert app.using(passes=(*tl.PASSES, mine))("Ada") == "hi"
    assert seen == ["hello"]
    assert app.using(passes=(*tl.PASSES, mine)).plan().reports[-1].name == "mine"


def test_costs_are_facts_only_for_engines_that_were_profiled() -> None:
    profiled = EngineLatency(LatencyModel({"prefill": NOTHING_MEASURED.surface("prefill")}), "x")
    known = KnownEngines(
        {
            "m": KnownEngine(EngineSpec("llm", "fake:"), latency=profiled),
            "n": KnownEngine(EngineSpec("llm", "fake:x")),
        }
    )
    facts = known.facts(hello_app("fake:").graph())
    nodes = [Node(("c",), "context", attrs={"engine": name}) for name in ("m", "n")]
    assert [facts.cost_of(node) is None for node in nodes] == [False, True]


def test_the_cost_of_a_plan_goes_by_where_contexts_are() -> None:
    book = EngineBook(Latencies())
    graph = hello_app("fake:").graph()
    prompt = next(node for node in graph.nodes if node.op == "prefill")
    text = next(node for node in graph.nodes if node.op == "decode")
    (engine,) = {str(node.attrs["engine"]) for node in (prompt, text)}
    for url, on_prompt, on_text in [("fake:", 1, 1), ("fake:vllm", 0, 2), ("fake:api", 0, 2)]:
        cost = book.known({engine: EngineSpec("llm", url)}).cost(graph)
        assert (len(cost.loads(prompt)), len(cost.loads(text))) == (on_prompt, on_text)
    asyncio.run(book.close())


def test_what_a_trace_says_of_a_plan_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Graph] = []
    expectation = plans.expectation

    def spy(graph: Graph, known: KnownEngines) -> dict[str, Any]:
        calls.append(graph)
        return expectation(graph, known)

    monkeypatch.setattr(plans, "expectation", spy)
    app = hello_app("fake:", replies={"": "hi"})
    queries = [list(app.stream(name)) for name in ("Ada", "Bob", "Cy", "Dan", "Eve")]
    heads = [events[0].fields for events in queries]
    assert len(calls) == 1  # though the plan is renewed by what its queries have seen
    assert heads[0]["graph"] == heads[-1]["graph"]
    assert heads[0]["began"] <= heads[-1]["began"]


def test_plans_of_a_program_are_bounded() -> None:
    app = hello_app("fake:", replies={"": "hi"})
    runner = AppRunner()
    for i in range(plans.MAX_PLANS + 5):
        run_on(runner, app.using(engines={"llm": f"fake:{i}"}))
    (program, _) = app._prepare(("Ada",), {})
    assert len(runner._plans._plans[program.plan_key]) == plans.MAX_PLANS
    runner.close()
