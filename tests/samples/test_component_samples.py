"""The samples made of configurable components: their graphs, on fake engines, on the real model."""

import json
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from samples import (
    chain_summary,
    contextual_retrieval,
    judge,
    map_reduce_summary,
    search_agent,
)

DATA = Path(__file__).parent.parent.parent / "samples/data"
YEAR = "Until which year do the developers intend to support SQLite?"
NOBEL = "who got the first nobel prize in physics"
MAX_DATA_BYTES = 300_000

RUNS: dict[str, tuple["tl.App[..., Any]", tuple[str, ...]]] = {
    "contextual_retrieval": (contextual_retrieval.ask, (YEAR,)),
    "search_agent": (search_agent.agent, (NOBEL,)),
    "map_reduce_summary": (map_reduce_summary.summarize, ()),
    "chain_summary": (chain_summary.summarize, ()),
    "judge": (judge.judge, ()),
}


def run(name: str, **options: Any) -> Any:
    app, arguments = RUNS[name]
    return app.using(**options)(*arguments)


def fakes(name: str) -> dict[str, str]:
    """Every engine but Python replaced."""
    app, _ = RUNS[name]
    engines = app._program_for((), {}).engines
    return {engine: "fake:" for engine in engines if engine != "python"}


@pytest.mark.parametrize("name", RUNS)
def test_it_answers_alike_optimized_and_plain_on_fake_engines(name: str) -> None:
    optimized = run(name, engines=fakes(name))
    assert optimized
    assert run(name, engines=fakes(name), optimize=False) == optimized


@pytest.mark.parametrize("name", RUNS)
def test_it_says_in_its_docstring_how_it_is_run(name: str) -> None:
    app, arguments = RUNS[name]
    module = __import__(app.__module__, fromlist=["__doc__"])
    assert f"run-graph samples/{name}.py:{app.name}" in (module.__doc__ or "")
    assert all(word in (module.__doc__ or "") for word in arguments)


def decodes(name: str) -> list[str]:
    """Where the app calls a model: names of calls, `[]` for a map and `{}` for a branch."""
    app, _ = RUNS[name]

    def walk(graph: Any, before: str) -> list[str]:
        found = []
        for node in graph.nodes:
            found += [before + node.name] if node.op == "decode" else []
            for body in node.bodies:
                found += walk(body, f"{before}{node.op}/")
        return found

    return walk(app.graph(), "")


def test_the_graphs_hold_the_calls_that_the_components_make() -> None:
    assert decodes("contextual_retrieval") == ["map/situate", "read"]
    assert decodes("search_agent") == ["search_words", "judge.json", "cond/read", "cond/chat"]
    assert decodes("map_reduce_summary") == ["map/read", "merge"]
    assert decodes("chain_summary") == ["read", "refine", "refine_2", "refine_3"]
    assert decodes("judge") == [*(f"assess{n}" for n in ("", "_2", "_3", "_4", "_5")), "grade.json"]


@pytest.mark.parametrize(("kind", "searches"), [("fact", True), ("chat", False)])
def test_the_agent_searches_for_facts_only(
    kind: str, searches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = tl.LLM("fake:", replies={"Kind:": json.dumps(kind)})
    monkeypatch.setattr(search_agent.llm, "spec", llm.spec)
    events: list[Any] = []
    agent = tl.app(search_agent.agent._function)  # traced anew
    agent.using(listener=events.append)("hello")
    started = [event.node for event in events if event.kind == "start"]
    assert any("web_search" in node for node in started) == searches


def test_the_contexts_share_their_head_and_are_embedded_as_they_come() -> None:
    text = str(contextual_retrieval.ask.plan().after)
    assert "situate.prompt.head" in text
    assert "embed ~%map" in text


def test_the_chain_prefills_each_part_before_the_summary_that_it_extends() -> None:
    graph = chain_summary.summarize.plan().after
    for number in ("", "_2", "_3"):
        late = graph.node(f"refine{number}")
        part, summary = graph.producer(late.inputs[0]), graph.producer(late.inputs[1])
        assert (part.op, summary.op) == ("prefill", "decode")
        assert graph.producer(part.inputs[1]).op == "get"  # of what was dealt, known early


def test_the_judges_share_the_article_and_wait_for_nobody() -> None:
    graph = judge.judge.plan().after
    decodes = [node for node in graph.nodes if node.op == "decode" and "schema" not in node.attrs]
    (article,) = {graph.producer(node.inputs[0]).name for node in decodes}
    assert graph.node(article).op == "prefill"
    assert not any(node.after for node in decodes)


def test_the_data_is_small_and_its_licence_is_told() -> None:
    readme = (DATA / "README.md").read_text()
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < MAX_DATA_BYTES
    for part in ("sqlite/", "qmsum/", "web/", "CC BY 4.0", "CC BY-SA 3.0"):
        assert part in readme


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "contained"), [("search_agent", "Röntgen"), ("map_reduce_summary", "product")]
)
def test_it_answers_alike_optimized_and_plain_on_the_real_model(name: str, contained: str) -> None:
    optimized = run(name)
    assert contained in optimized
    assert run(name, optimize=False) == optimized
