"""Apps whose prompts read the KV of documents from wherever it was computed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from backends.base import Chunk
from backends.fake.llm import FakeLLM
from backends.fusion_profile import FusionProfile, PlanQuality, save
from runtime.events import Event
from teola.errors import ConfigError, TraceError

SYSTEM = "Answer the question from the passages."


def words(name: str, count: int = 30) -> str:
    return " ".join(f"{name}{i}" for i in range(count))


DOCS = [tl.Doc(words(name), id=name) for name in ("ant", "bee", "cow", "dog")]


@pytest.fixture
def prefills(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, tuple[Any, ...]]]:
    """The plan and the parts of each prefill, and what it computed."""
    seen: list[Any] = []
    fused = FakeLLM._prefill

    async def noted(self: FakeLLM, request: Any) -> Any:
        seen.append((request.attrs.get("fusion"), request.inputs[1:]))
        return await fused(self, request)

    monkeypatch.setattr(FakeLLM, "_prefill", noted)
    return seen


def app_on(llm: tl.LLM, join: Callable[[Any], str], **options: Any) -> Any:
    @tl.prompt(llm, system=SYSTEM)
    def answer(question: str, docs: list[tl.Doc]) -> str:
        return f"{join(docs)}\n\nQuestion: {question}"

    @tl.app(**options)
    def ask(question: str, docs: list[tl.Doc]) -> str:
        return answer(question, docs)

    return ask


def fusing(docs: Any) -> str:
    return tl.join(docs, "[{i}] {text}", reuse="lego(4)")


def plain(docs: Any) -> str:
    return tl.join(docs, "[{i}] {text}")


def chunks(parts: tuple[Any, ...]) -> list[str]:
    return [str(part) for part in parts if isinstance(part, Chunk)]


def able(name: str, **options: Any) -> tl.LLM:
    return tl.LLM(f"fake:{name}", chunks=True, **options)


def test_items_reach_the_engine_as_chunks_and_the_prompt_reads_the_same(prefills: Any) -> None:
    fused = app_on(able("a"), fusing)
    assert fused("why?", DOCS[:3]) == app_on(tl.LLM("fake:"), plain)("why?", DOCS[:3])
    plan, parts = prefills[0]
    assert plan == "lego(4)"
    assert chunks(parts) == [f"] {doc.text}" for doc in DOCS[:3]]


def test_the_plain_run_is_exact(prefills: Any) -> None:
    app_on(able("b"), fusing).using(optimize=False)("why?", DOCS)
    ((plan, parts),) = prefills
    assert (plan, chunks(parts)) == (None, [])


def test_an_engine_without_fusion_is_exact_and_explain_says_so(prefills: Any) -> None:
    ask = app_on(tl.LLM("fake:c"), fusing)
    ask("why?", DOCS)
    ((plan, parts),) = prefills
    assert (plan, chunks(parts)) == (None, [])
    assert "exact: the engine 'llm' cannot reuse KV of chunks" in ask.explain()


def test_one_document_alone_is_read_exactly(prefills: Any) -> None:
    app_on(able("d"), fusing)("why?", DOCS[:1])
    assert prefills[0][0] is None


def computed(ask: Any, docs: list[tl.Doc], question: str = "why?") -> int:
    """The prompt's words that were computed."""
    ends: list[Event] = []
    ask.using(listener=lambda event: ends.append(event) if event.kind == "end" else None)(
        question, docs
    )
    return sum(event.fields["prefill_tokens"] for event in ends)


def test_documents_in_another_order_are_not_computed_again() -> None:
    fused, exact = app_on(able("e"), fusing), app_on(able("e2"), plain)
    first = computed(fused, DOCS)
    again = computed(fused, DOCS[::-1], "when?")
    assert first > computed(exact, DOCS)  # each document, and of three the first four words
    assert again == first - 4 * 31  # nothing but those and the question


def test_a_plan_of_the_model_or_the_app_fuses_joins_that_say_nothing(prefills: Any) -> None:
    app_on(able("f", fusion="lego(2)"), plain)("why?", DOCS)
    app_on(able("g"), plain, fusion="lego(3)")("why?", DOCS)
    app_on(able("h"), plain).using(fusion="lego(5)")("why?", DOCS)
    app_on(able("i"), plain)("why?", DOCS)
    assert [plan for plan, _ in prefills] == ["lego(2)", "lego(3)", "lego(5)", None]


def test_the_app_can_switch_fusion_off(prefills: Any) -> None:
    app_on(able("j"), fusing).using(fusion="exact")("why?", DOCS)
    assert prefills[0][0] is None


def test_models_that_differ_in_their_plan_share_an_engine() -> None:
    assert able("k", fusion="reuse").spec == able("k").spec


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))


def save_profile(**quality: tuple[float, float]) -> None:
    plans = {plan: PlanQuality(r=r, cost=cost) for plan, (r, cost) in quality.items()}
    save(FusionProfile(model="fake", plans=plans))


LONG = [tl.Doc(words(name, 150), id=name) for name in ("ant", "bee", "cow", "dog")]


@pytest.mark.usefixtures("own_cache")
def test_auto_takes_its_plan_from_the_profile_of_the_model(prefills: Any) -> None:
    save_profile(**{"reuse": (0.0, 0.05), "lego(16)": (0.6, 0.17), "lego(64)": (0.7, 0.4)})
    ask = app_on(able("l", fusion="auto"), plain)
    ask("why?", LONG)
    assert prefills[0][0] == "lego(16)"
    assert "lego(16): the fastest of R 0.45 and more, R 0.60; from 500 tokens" in ask.explain()


@pytest.mark.usefixtures("own_cache")
def test_auto_keeps_to_the_floor_of_the_profile(prefills: Any) -> None:
    plans = {"reuse": PlanQuality(r=0.5, cost=0.05), "lego(16)": PlanQuality(r=0.6, cost=0.17)}
    save(FusionProfile(model="fake", plans=plans, floor=0.55))
    app_on(able("l2", fusion="auto"), plain)("why?", LONG)
    assert prefills[0][0] == "lego(16)"


@pytest.mark.usefixtures("own_cache")
def test_auto_is_exact_for_short_prompts(prefills: Any) -> None:
    save_profile(**{"lego(16)": (0.6, 0.17)})
    app_on(able("m", fusion="auto"), plain)("why?", DOCS)
    assert prefills[0][0] is None


@pytest.mark.usefixtures("own_cache")
def test_auto_is_exact_while_no_document_comes_again(prefills: Any) -> None:
    save_profile(**{"lego(16)": (0.6, 0.17)})
    ask = app_on(able("m2", fusion="auto"), plain)
    for i in range(20):
        ask("why?", [tl.Doc(words(f"{name}{i}.", 150)) for name in "abcde"])
    assert [plan for plan, _ in prefills][:: len(prefills) - 1] == ["lego(16)", None]
    for _ in range(8):
        ask("why?", LONG)
    assert prefills[-1][0] == "lego(16)"


@pytest.mark.usefixtures("own_cache")
def test_auto_without_a_profile_is_exact_and_explain_says_what_to_run(prefills: Any) -> None:
    ask = app_on(able("n", fusion="auto"), plain)
    ask("why?", LONG)
    assert prefills[0][0] is None
    assert "exact: what plans lose on fake is not known: run `teola fusion-check fake`" in (
        ask.explain()
    )


@pytest.mark.usefixtures("own_cache")
def test_a_fused_answer_is_not_remembered_as_an_exact_one() -> None:
    llm = able("o", repeatable=True)
    fused, exact = app_on(llm, fusing), app_on(llm, plain)
    decodes: list[int] = []

    def count(event: Event) -> None:
        if event.kind == "end" and event.op == "decode":
            decodes.append(event.fields["decode_tokens"])

    for ask in (fused, exact, fused, exact):
        ask.using(listener=count)("why?", DOCS)
    assert [bool(number) for number in decodes] == [True, True, False, False]


@pytest.mark.parametrize("wrong", ["qurey(0.15)", "auto(2)", "fuse", 1, ""])
def test_a_plan_that_nobody_knows_is_refused_where_it_is_written(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r'fusion= of a model is "auto" .* "exact", or a plan'):
        tl.LLM("fake:", fusion=wrong)
    with pytest.raises(ConfigError, match='fusion= of an app is "auto"'):
        app_on(able("p"), plain, fusion=wrong)
    if wrong != "fuse":
        ask = app_on(able("q"), lambda docs: tl.join(docs, reuse=wrong))
        with pytest.raises(TraceError, match=r'reuse= of tl.join is "fuse"'):
            ask("why?", DOCS)


def test_documents_joined_outside_of_a_map_are_read_in_it(prefills: Any) -> None:
    llm = able("r")

    @tl.prompt(llm)
    def answer(question: str, passages: str) -> str:
        return f"About {question}.\n{passages}\nAnswer."

    @tl.app
    def ask(questions: list[str], docs: list[tl.Doc]) -> list[str]:
        passages = fusing(docs)
        return tl.map(lambda question: answer(question, passages), questions)

    assert len(ask(["why?", "when?"], DOCS)) == 2
    assert [plan for plan, _ in prefills] == ["lego(4)", "lego(4)"]


def test_an_async_app_fuses_too(prefills: Any) -> None:
    llm = able("s")

    @tl.prompt(llm, system=SYSTEM)
    def answer(question: str, docs: list[tl.Doc]) -> str:
        return f"{fusing(docs)}\n\nQuestion: {question}"

    @tl.app
    async def ask(question: str, docs: list[tl.Doc]) -> str:
        return await tl.value(answer(question, docs))

    assert ask("why?", DOCS)
    assert prefills[0][0] == "lego(4)"


def test_a_joined_text_that_a_tool_reads_too_is_a_text() -> None:
    @tl.tool(pure=True)
    def shout(text: str) -> str:
        return text.upper()

    @tl.prompt(able("t"))
    def answer(passages: str, loud: str) -> str:
        return f"{passages}\n{loud}"

    @tl.app
    def ask(docs: list[tl.Doc]) -> tuple[str, str]:
        passages = fusing(docs)
        return answer(passages, shout(passages)), passages

    _, passages = ask(DOCS)
    assert passages == "\n".join(f"[{i}] {doc.text}" for i, doc in enumerate(DOCS, 1))


def test_documents_whose_order_is_free_come_as_a_prompt_before_had_them(prefills: Any) -> None:
    def free(docs: Any) -> str:
        return tl.join(docs, "[{i}] {text}", reorder=True)

    ask = app_on(tl.LLM("fake:u"), free)
    for docs in (DOCS[:3], [DOCS[3], *DOCS[2::-1]], DOCS[1:3]):
        ask("why?", docs)
    ask.using(optimize=False)("why?", DOCS[2::-1])
    ask.using(salt="another tenant")("why?", DOCS[2::-1])
    read = [re.findall(r"\b(ant|bee|cow|dog)0\b", str(parts)) for _, parts in prefills]
    assert read == [
        ["ant", "bee", "cow"],
        ["ant", "bee", "cow", "dog"],
        ["bee", "cow"],
        ["cow", "bee", "ant"],
        ["cow", "bee", "ant"],
    ]
