"""Every sample answers on vLLM as it does on the embedded engine with the same float32 weights."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from teola.runner import default_runner

pytestmark = [pytest.mark.server, pytest.mark.model]

SAMPLES = Path(__file__).parents[2] / "samples"
SQLITE = [str(SAMPLES / "data/sqlite")]
STARTS = {"data/qmsum/meeting.txt": 6000, "data/sqlite/lts.md": 3000}  # characters: enough here
YEAR = "Until which year do the developers intend to support SQLite?"
PROCESS = "Does SQLite need a separate server process?"

# What is asked of the apps of each sample, in this order; the last answer counts.
CALLS: dict[str, list[tuple[str, tuple[Any, ...]]]] = {
    "advanced_rag": [("rag", (YEAR, SQLITE))],
    "chain_summary": [("summarize", (["meeting.txt"], 2))],
    "contextual_retrieval": [("ask", (YEAR, ["lts.md"]))],
    "doc_qa": [("ask", (PROCESS, SQLITE))],
    "fused_answers": [("answers", (["Does SQLite need a server?"], SQLITE))],
    "judge": [("judge", ())],
    "library": [("index", (SQLITE,)), ("ask", (PROCESS,))],
    "map_reduce_summary": [("summarize", (["meeting.txt"],))],
    "search_agent": [("agent", ())],
}
# Programs, agents and teams: traced when they are called, with the engine they are given.
RUN = {
    "chat": "chat",
    "coding_team": "build",
    "debate": "debate",
    "planner": "answer",
    "react_agent": "answer",
    "support_team": "support",
    "tree_of_thought": "solve",
}


@pytest.fixture(autouse=True, scope="module")
def _own_engines() -> Iterator[None]:
    """Closed before the server is."""
    yield
    default_runner().close()


def test_no_sample_is_left_out() -> None:
    assert {*CALLS, *RUN} == {path.stem for path in SAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", CALLS)
def test_a_sample_answers_alike_here_and_on_the_server(
    name: str, vllm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the library is made there
    for path, length in STARTS.items():
        (tmp_path / Path(path).name).write_text((SAMPLES / path).read_text()[:length])
    module = importlib.import_module(f"samples.{name}")
    here = tl.LLM("local:smollm2-135m", dtype="float32", threads=1)
    monkeypatch.setattr(module.llm, "spec", here.spec)

    def answer(**engines: str) -> Any:
        for app_name, arguments in CALLS[name]:
            app = tl.app(getattr(module, app_name)._function)  # traced with that LLM
            uses = {"llm": engines["llm"]} if engines and app_name != "index" else {}
            result = app.using(engines=uses, fusion="exact")(*arguments)
        return result

    assert answer(llm=vllm.url) == answer()


@pytest.mark.parametrize("name", RUN)
def test_a_sample_of_programs_agents_and_teams_runs_on_the_server(name: str, vllm: Any) -> None:
    app = getattr(importlib.import_module(f"samples.{name}"), RUN[name])
    assert app.using(engines={"llm": vllm.url}, memo=False)()
