"""The samples on fake engines that behave as servers do: the same answers, and what is sent."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from backends.fake.capabilities import REMOTE
from samples import (
    advanced_rag,
    chain_summary,
    contextual_retrieval,
    doc_qa,
    judge,
    library,
    map_reduce_summary,
    search_agent,
)

DATA = Path(__file__).parent.parent.parent / "samples/data"
YEAR = "Until which year do the developers intend to support SQLite?"
FILES = [str(DATA / "sqlite/lts.md")]
FAKES = {"store": "fake:", "embedder": "fake:", "reranker": "fake:"}

RUNS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "doc_qa": (doc_qa.ask, (YEAR, FILES)),
    "advanced_rag": (advanced_rag.rag, (YEAR, FILES)),
    "contextual_retrieval": (contextual_retrieval.ask, (YEAR, FILES)),
    "search_agent": (search_agent.agent, ()),
    "map_reduce_summary": (map_reduce_summary.summarize, ()),
    "chain_summary": (chain_summary.summarize, ()),
    "judge": (judge.judge, ()),
    "library_ask": (library.ask, ("about ada",)),
}
EACH = pytest.mark.parametrize("name", RUNS)


def run(name: str, llm: str, **options: Any) -> tuple[Any, Counter[str]]:
    """The answer, and how often each op ran on the model's engine."""
    app, arguments = RUNS[name]
    known = app._program_for(arguments, {}).engines
    engines = {engine: url for engine, url in FAKES.items() if engine in known}
    started: Counter[str] = Counter()

    def listen(event: Any) -> None:
        if event.kind == "start" and event.fields["engine"] == "llm":
            started[event.op] += 1

    given = app.using(engines={**engines, "llm": llm}, memo=False, listener=listen, **options)
    return given(*arguments), started


@EACH
@pytest.mark.parametrize("server", REMOTE)
def test_a_sample_answers_as_on_an_engine_that_can_do_everything(name: str, server: str) -> None:
    expected, _ = run(name, "fake:")
    assert expected
    answer, _ = run(name, f"fake:{server}")
    assert answer == expected
    plain, _ = run(name, f"fake:{server}", optimize=False)
    assert plain == expected


@EACH
def test_an_api_gets_whole_prompts_only(name: str) -> None:
    _, plain = run(name, "fake:", optimize=False)
    _, started = run(name, "fake:api")
    assert started == {"generate": plain["decode"]}


@EACH
def test_a_server_that_shares_what_runs_gets_a_prefill_only_where_its_reader_waits(
    name: str,
) -> None:
    _, plain = run(name, "fake:", optimize=False)
    _, started = run(name, "fake:vllm")
    assert started["decode"] == plain["decode"]
    assert started["prefill"] == (3 if name == "chain_summary" else 0)
