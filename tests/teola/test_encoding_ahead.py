"""Passages that are computed before the prompt that reads them is there."""

from typing import Any

import pytest

import teola as tl
from runtime.events import Event
from teola.virtual import VirtualRun, run_virtually

WORDS = 40
DOCS = [
    tl.Doc(" ".join(f"{name}{i}" for i in range(WORDS)), id=name)
    for name in ("ant", "bee", "cow", "dog", "elk", "fox")
]
TOKEN_S = 0.001


def asking(llm_device: str = "gpu:0", rerank_s: float = 1.0, **options: Any) -> Any:
    """An app that answers from the three best of its documents."""
    llm = tl.LLM("fake:", chunks=True, device=llm_device, prefill_token_s=TOKEN_S, **options)
    reranker = tl.Reranker("fake:", device="gpu:1", latency_s=rerank_s)

    @tl.prompt(llm, system="Answer from the passages.")
    def answer(question: str, docs: list[tl.Doc]) -> str:
        return f"{tl.join(docs, '[{i}] {text}', reuse='reuse')}\nQuestion: {question}"

    @tl.app
    def ask(question: str, docs: list[tl.Doc]) -> str:
        return answer(question, reranker(question, docs, k=3))

    return ask


def events_of(app: Any, docs: list[tl.Doc] = DOCS) -> tuple[VirtualRun, list[Event]]:
    events: list[Event] = []
    run = run_virtually(app.using(listener=events.append), "cow1 dog2 elk3?", docs)
    return run, events


def computed(events: list[Event]) -> int:
    """Words of the prompt itself."""
    ends = (event for event in events if event.kind == "end" and event.op == "prefill")
    return sum(event.fields["prefill_tokens"] for event in ends)


def of_encode(events: list[Event]) -> list[str]:
    return [event.kind for event in events if event.op == "encode"]


def test_candidates_are_computed_while_the_reranker_chooses() -> None:
    run, events = events_of(asking())
    alone, others = events_of(asking("gpu:1"))  # the reranker's own
    assert of_encode(events) == ["ready", "start", "end"]
    assert of_encode(others) == []
    assert computed(others) - computed(events) == 3 * (WORDS + 1)
    assert alone.seconds - run.seconds == pytest.approx(3 * (WORDS + 1) * TOKEN_S)
    assert run.result == alone.result


def test_what_is_not_done_when_the_prompt_comes_is_given_up() -> None:
    run, events = events_of(asking(rerank_s=0.1))  # for two documents of six
    assert of_encode(events) == ["ready", "start", "end"]
    assert run.seconds < 0.1 + 3 * (WORDS + 10) * TOKEN_S


def test_a_failure_harms_no_query() -> None:
    run, events = events_of(asking(fail={"encode": "broken"}))
    assert run.result
    assert of_encode(events) == ["ready", "start", "end"]


def test_an_engine_that_has_work_is_left_alone() -> None:
    llm = tl.LLM("fake:", chunks=True, device="gpu:0", token_s=1.0)
    reranker = tl.Reranker("fake:", device="gpu:1", latency_s=1.0)

    @tl.prompt(llm)
    def answer(docs: list[tl.Doc]) -> str:
        return f"{tl.join(docs, reuse='reuse')}\nSay more."

    @tl.prompt(llm)
    def title(question: str) -> str:
        return f"A title for {question}"

    @tl.tool(pure=True)
    async def later(docs: list[tl.Doc]) -> list[tl.Doc]:
        return docs

    @tl.app
    def ask(question: str, docs: list[tl.Doc]) -> tuple[str, str]:
        return title(question), answer(reranker(question, later(docs), k=3))

    _, events = events_of(ask)
    assert of_encode(events) == []
