"""Passages that are computed before the prompt that reads them is there."""

import asyncio
from typing import Any

import pytest

import teola as tl
from runtime.events import Event
from teola.errors import ConfigError
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


def computed_by(app: Any, *args: Any) -> int:
    events: list[Event] = []
    app.using(listener=events.append)(*args)
    return computed(events)


def fused_app(head: str = "", join: str = "reuse", **options: Any) -> Any:
    llm = tl.LLM("fake:", chunks=True, **options)

    @tl.prompt(llm, system="Answer from the passages.")
    def answer(question: str, docs: list[tl.Doc]) -> str:
        before = question if head else ""
        return f"{before}{tl.join(docs, '[{i}] {text}', reuse=join)}\nQuestion: {question}"

    @tl.app
    def ask(question: str, docs: list[tl.Doc], k: int = 3) -> str:
        return answer(question, docs[:k])

    return ask


def test_documents_can_be_encoded_before_the_first_question() -> None:
    ask = fused_app(latency_s=0.001)
    assert ask.encode_ahead(DOCS) == len(DOCS)
    assert ask.encode_ahead(DOCS[::-1]) == 0
    fresh = computed_by(fused_app(latency_s=0.002), "why?", DOCS)
    assert computed_by(ask, "why?", DOCS[2:]) == fresh - 3 * (WORDS + 1)


def test_many_documents_are_encoded_in_parts() -> None:
    many = [tl.Doc(" ".join(f"w{i}.{j}" for j in range(20))) for i in range(150)]
    assert fused_app(latency_s=0.0011).encode_ahead(iter(many)) == 150


def test_encoding_can_be_awaited() -> None:
    assert asyncio.run(fused_app(latency_s=0.0012).aencode_ahead(DOCS, k=2)) == len(DOCS)


def test_an_app_with_other_engines_encodes_on_those() -> None:
    ask = fused_app(latency_s=0.0013).using(engines={"llm": "fake:"})
    with pytest.raises(ConfigError, match="the engine 'llm' cannot reuse KV of chunks"):
        ask.encode_ahead(DOCS)


def test_engines_that_do_not_encode_may_be_replaced_too() -> None:
    ask = asking(latency_s=0.0014).using(engines={"reranker": "fake:"})
    assert ask.encode_ahead(DOCS) == len(DOCS)


def test_without_a_fused_prompt_it_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"no prompt of ask\(\) is fused: write tl.join\(docs"):
        fused_app(join="exact").encode_ahead(DOCS)
    with pytest.raises(ConfigError, match=r"%answer.prompt: a value stands before its passages"):
        fused_app(head="question").encode_ahead(DOCS)


def test_behind_nothing_they_are_encoded_whatever_stands_before_them() -> None:
    app = fused_app(head="question", join="lego(4)+alone", latency_s=0.0015)
    assert app.encode_ahead(DOCS) == len(DOCS)
