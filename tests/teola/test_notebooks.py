"""What a notebook shows, and that calls work while its loop runs."""

import asyncio
from pathlib import Path
from typing import Any

import teola as tl

llm = tl.LLM("fake:", replies={"": "Paris & <b>"})


@tl.prompt(llm)
def ask(question: str) -> str:
    return f"Answer <{question}>"


@tl.app
def one(question: str, n: int = 3) -> str:
    return ask(f"{question} {n}")


@tl.app
def sized(question: str, n: int) -> str:
    return ask(f"{question} {n}")


@tl.app
async def steps(question: str) -> str:
    return await tl.value(ask(question))


def bundle(shown: Any) -> dict[str, str]:
    """As IPython asks for it."""
    found: dict[str, str] = shown._repr_mimebundle_(include=None, exclude=None)
    return found


def test_an_app_is_drawn_by_its_calls_with_its_signature() -> None:
    found = bundle(one)
    assert found["text/plain"].startswith("app one(question: str, n: int = 3)\none\n  question")
    assert "ask" in found["image/svg+xml"]
    assert "prefill decode" in found["image/svg+xml"]


def test_an_app_that_cannot_be_drawn_says_why() -> None:
    assert (
        "to see it drawn: sized.graph(...); sized() needs argument 'n'"
        in (bundle(sized)["text/plain"])
    )
    found = bundle(steps)
    assert found == {
        "text/plain": "async app steps(question: str)\n(its graphs come to be while it runs)"
    }

    @tl.app
    def wrong(question: str) -> str:
        return "yes" if ask(question) == "x" else "no"

    assert "compared" in bundle(wrong)["text/plain"]


def test_an_agent_is_shown_like_an_app() -> None:
    clerk = tl.Agent("clerk", llm)
    assert bundle(clerk)["text/plain"].startswith("app clerk(task: str")


def test_a_graph_is_drawn_by_its_primitives() -> None:
    graph = one.graph()
    found = bundle(graph)
    assert found["text/plain"] == str(graph)
    assert found["image/svg+xml"].startswith("<svg")
    assert "prefill" in found["image/svg+xml"]


def test_a_plan_shows_the_graph_that_runs_and_what_passes_did() -> None:
    found = bundle(one.plan())
    html = found["text/html"]
    assert "<svg" in html
    assert "cull" in html
    assert "critical path" in html
    assert found["text/plain"] == str(one.plan())


def test_a_trace_shows_its_page(tmp_path: Path) -> None:
    path = str(tmp_path / "trace.jsonl")
    one.using(trace=path)("what?")
    file = tl.read_trace(path)
    for shown in (file, file.traces[0]):
        found = bundle(shown)
        assert "critical path" in found["text/plain"]
        assert found["text/html"].startswith("<pre")
        assert "ask" in found["text/html"]


def test_a_sync_call_works_while_a_loop_runs_as_in_a_notebook() -> None:
    async def cell() -> tuple[str, str, list[Any], str]:
        streamed = [event.kind for event in one.stream("x")][-1]
        return one("x"), steps("x"), one.batch(["a", "b"]), streamed

    expected = "Paris & <b>"
    assert asyncio.run(cell()) == (expected, expected, [expected, expected], "done")
