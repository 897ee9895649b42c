"""Prompts that are computed in the order of the search while their documents are reranked."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import teola as tl
from runtime.events import Event
from teola.cli.plan_command import as_json, show
from teola.errors import ConfigError
from teola.viewer.formats import tokens
from teola.viewer.model import TraceBuilder, total_usage
from teola.virtual import VirtualRun, run_virtually

NAMES = ("ant", "bee", "cow", "dog", "elk", "fox")
QUESTION = "ant1 bee2 cow3 dog4 what?"


def documents(num_words: int = 200) -> list[tl.Doc]:
    """Best first, by the fake reranker."""
    docs = [tl.Doc(" ".join(f"{name}{i}" for i in range(num_words)), id=name) for name in NAMES]
    reranker = tl.Reranker("fake:")

    @tl.app
    def rank(question: str, docs: list[tl.Doc]) -> list[tl.Doc]:
        return reranker(question, docs)

    return rank(QUESTION, docs)


def first_alone(docs: list[tl.Doc]) -> list[tl.Doc]:
    """The best one in its place, and no other."""
    return [docs[0], *docs[:0:-1]]


def asking(
    rerank_s: float = 1.0,
    template: str = "{text}",
    llm: str = "emulated:h100/llama-3.1-8b",
    **options: Any,
) -> Any:
    """An app that answers from the three best of its documents."""
    model = tl.LLM(llm, **options)
    reranker = tl.Reranker("fake:", latency_s=rerank_s)

    @tl.prompt(model, system="Answer from the passages.", max_tokens=4)
    def answer(question: str, docs: list[tl.Doc]) -> str:
        return f"{tl.join(docs, template)}\nQuestion: {question}"

    @tl.app
    def ask(question: str, docs: list[tl.Doc]) -> str:
        return answer(question, reranker(question, docs, k=3))

    return ask


def both(docs: list[tl.Doc], **options: Any) -> tuple[VirtualRun, VirtualRun, list[Event]]:
    """A plain run, a run that guesses, and the events of that."""
    events: list[Event] = []
    app = asking(**options)
    plain = run_virtually(app, QUESTION, docs)
    guessing = app.using(prefill_ahead=True, listener=events.append)
    return plain, run_virtually(guessing, QUESTION, docs), events


def told(events: list[Event], node: str) -> Any:
    (fields,) = [e.fields for e in events if (e.kind, e.node) == ("end", node)]
    return fields


def test_a_guess_that_comes_true_saves_the_prefill() -> None:
    plain, ahead, events = both(documents())
    assert ahead.result == plain.result
    guess, answer = told(events, "answer.ahead"), told(events, "answer")
    assert guess["prefill_tokens"] > 1000
    assert answer["prefill_tokens"] < 32  # but for the last page
    assert answer["wasted_tokens"] < 32
    assert ahead.seconds < plain.seconds - 0.04


def test_a_server_computes_the_guess_into_its_prefix_cache() -> None:
    plain, ahead, events = both(documents(), llm="fake:vllm", prefill_token_s=0.001)
    assert ahead.result == plain.result
    assert told(events, "answer")["cached_tokens"] == told(events, "answer.ahead")["prefill_tokens"]
    assert plain.seconds - ahead.seconds == pytest.approx(0.609)


def test_of_another_order_the_common_beginning_is_found_and_the_rest_is_counted() -> None:
    plain, ahead, events = both(first_alone(documents()))
    assert ahead.result == plain.result
    answer = told(events, "answer")
    assert 300 < answer["cached_tokens"] < 1000
    spent = told(events, "answer.ahead")["prefill_tokens"]
    assert answer["wasted_tokens"] == spent - answer["cached_tokens"]
    assert ahead.seconds < plain.seconds


def test_a_wrong_guess_costs_no_time_and_changes_no_answer() -> None:
    plain, ahead, events = both(documents()[::-1])
    assert ahead.result == plain.result
    assert told(events, "answer")["wasted_tokens"] > 1000
    assert ahead.seconds < plain.seconds + 0.001


def test_a_guess_stops_when_its_prompt_comes_which_goes_on_from_there() -> None:
    plain, ahead, events = both(documents(2000), rerank_s=0.1, token_budget=2048)
    assert ahead.result == plain.result
    answer = told(events, "answer")
    assert told(events, "answer.ahead")["prefill_tokens"] == 0  # it was not finished
    assert answer["cached_tokens"] > 2000
    assert answer["prefill_tokens"] > 2000
    assert answer.get("wasted_tokens", 0) < 64
    assert ahead.seconds < plain.seconds - 0.05
    plain, ahead, events = both(documents(2000)[::-1], rerank_s=0.1, token_budget=2048)
    assert told(events, "answer")["wasted_tokens"] > 2000
    assert ahead.seconds < plain.seconds + 0.15  # one step, at most


def test_the_answer_on_a_real_engine_is_that_of_the_plain_run(
    tiny_folder: Callable[..., Path],
) -> None:
    url = f"local:{tiny_folder('llama')}"
    app = asking(1.0, llm=url, dtype="float32", kv_tokens=4096).using(memo=False)
    best = documents(20)
    for number, docs in enumerate((best, best[::-1])):
        events: list[Event] = []
        plain = app.using(salt=f"plain {number}")(QUESTION, docs)
        guessing = app.using(salt=f"ahead {number}", prefill_ahead=True, listener=events.append)
        assert guessing(QUESTION, docs) == plain
        answer = told(events, "answer")
        if docs is best:
            assert answer["cached_tokens"] > 100
        else:
            assert answer["wasted_tokens"] > 100


def test_an_engine_with_work_is_left_alone() -> None:
    model = tl.LLM("emulated:h100/llama-3.1-8b")
    reranker = tl.Reranker("fake:", latency_s=1.0)

    @tl.prompt(model, max_tokens=400)
    def other(question: str, i: int) -> str:
        return f"{i}. A title for {question}"

    @tl.prompt(model, max_tokens=4)
    def answer(docs: list[tl.Doc]) -> str:
        return f"{tl.join(docs)}\nSay more."

    @tl.tool(pure=True)
    async def later(docs: list[tl.Doc]) -> list[tl.Doc]:
        return docs

    @tl.app
    def ask(question: str, docs: list[tl.Doc], others: int) -> list[str]:
        titles = [other(question, i) for i in range(others)]
        return [*titles, answer(reranker(question, later(docs), k=3))]

    for others, is_guessed in ((0, True), (3, True), (4, False)):
        events: list[Event] = []
        guessing = ask.using(prefill_ahead=True, listener=events.append)
        run_virtually(guessing, "why?", documents(), others)
        assert any(event.node == "answer.ahead" for event in events) == is_guessed


@pytest.mark.parametrize("reuse", ["exact", "reuse"])
def test_a_candidate_that_the_template_cannot_take_harms_nobody(reuse: str) -> None:
    docs = documents(20)
    docs[:3] = [tl.Doc(doc.text, id=doc.id, metadata={"page": 3}) for doc in docs[:3]]
    fused = tl.LLM("fake:", chunks=True, device="gpu:0")
    llm = tl.LLM("emulated:h100/llama-3.1-8b") if reuse == "exact" else fused
    reranker = tl.Reranker("fake:", device="gpu:1", latency_s=1.0)

    @tl.prompt(llm)
    def answer(question: str, docs: list[tl.Doc]) -> str:
        return f"{tl.join(docs, '{text} ({page})', reuse=reuse)}\nQuestion: {question}"

    @tl.app
    def ask(question: str, docs: list[tl.Doc]) -> str:
        return answer(question, reranker(question, docs, k=3))

    guessing = ask.using(prefill_ahead=True)
    assert ".ahead = join" in str(guessing.plan().after)
    found = run_virtually(guessing, QUESTION, docs[::-1]).result
    assert found == run_virtually(ask.using(optimize=False), QUESTION, docs[::-1]).result


def test_explain_says_what_is_guessed() -> None:
    app = asking()
    assert "meanwhile" not in app.explain()
    assert (
        "computed in the order of the search meanwhile: asked for"
        in app.using(prefill_ahead=True).explain()
    )
    refused = app.using(prefill_ahead=True, engines={"llm": "fake:openai"}).explain()
    assert "waits: the engine 'llm' does not say what it found computed" in refused


def test_the_command_line_shows_it() -> None:
    plan, out = asking().using(prefill_ahead=True).plan(), StringIO()
    assert as_json(plan)["ahead"] == [{"node": "answer", "is_made": True, "reason": "asked for"}]
    show(Console(file=out, width=120), plan)
    assert "computed in the order of the search meanwhile: asked for" in out.getvalue()


def test_a_trace_counts_what_was_wasted() -> None:
    _, _, events = both(documents()[::-1])
    builder = TraceBuilder()
    for event in events:
        builder(event)
    usage = total_usage(builder.trace().spans)
    assert usage.wasted_tokens == told(events, "answer")["wasted_tokens"] > 1000
    assert f"cached, {usage.wasted_tokens:,} wasted, " in tokens(usage)


def test_a_wrong_wish_is_refused() -> None:
    with pytest.raises(ConfigError, match="prefill_ahead is True, False or None, not 'yes'"):
        asking().using(prefill_ahead="yes")
