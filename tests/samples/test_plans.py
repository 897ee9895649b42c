"""The samples' graphs before and after the passes, as text, so that a change of plan is seen.

On the embedded engine, and on servers by what they can do (`backends.fake.llm.REMOTE`).

Rewritten on request: TEOLA_UPDATE_PLANS=1 pytest tests/samples/test_plans.py
"""

import os
from pathlib import Path
from typing import Any

import pytest

from backends.fake.capabilities import REMOTE
from graph_opt.facts import Facts
from graph_opt.pipeline import optimize
from graph_opt.plain import as_written
from samples import (
    advanced_rag,
    chain_summary,
    coding_team,
    contextual_retrieval,
    debate,
    doc_qa,
    fused_answers,
    judge,
    library,
    map_reduce_summary,
    search_agent,
)

PLANS = Path(__file__).parent / "plans"
APPS: dict[str, Any] = {
    "doc_qa": doc_qa.ask,
    "fused_answers": fused_answers.answers,
    "advanced_rag": advanced_rag.rag,
    "contextual_retrieval": contextual_retrieval.ask,
    "search_agent": search_agent.agent,
    "map_reduce_summary": map_reduce_summary.summarize,
    "chain_summary": chain_summary.summarize,
    "judge": judge.judge,
    "coding_team": coding_team.build,
    "debate": debate.debate,
    "library_index": library.index,
    "library_ask": library.ask,
}


def assert_on_file(name: str, text: str) -> None:
    file = PLANS / f"{name}.txt"
    if os.environ.get("TEOLA_UPDATE_PLANS"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", APPS)
def test_the_plan_is_the_one_on_file(name: str) -> None:
    before = as_written(APPS[name].graph())
    assert_on_file(name, f"{before}\n\n# after the passes\n\n{optimize(before)}\n")


@pytest.mark.parametrize("name", APPS)
def test_the_plans_for_servers_are_those_on_file(name: str) -> None:
    before = as_written(APPS[name].graph())
    plans = {server: optimize(before, facts=Facts({"llm": REMOTE[server]})) for server in REMOTE}
    text = "\n\n".join(f"# on {server}\n\n{plan}" for server, plan in plans.items())
    assert_on_file(f"{name}.servers", f"{text}\n")
