"""Fused prompts of odd shapes, and what they count."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.base import Chunk, Result, Turn

PREFIX = "Read this. "
CHUNKS = tuple(f"Passage {i} tells of {i} ships and a storm." for i in range(4))
SEPARATOR = " *** And another one has this to tell: "
PLANS = (  # none looks at the last layer, whose rows are then those of the last pass
    *("reuse", "lego(9999999)", "query(0.15, end=4)", "query(1, end=1)", "blend(0.15)", "blend(1)"),
    *("gradual(0.3)", "random(0.3)", "query(0.2, end=3)+first(3)", "blend(0.2, v=true)+first(2)"),
    *("reuse+alone", "lego(4)+alone", "query(0.3, end=4)+alone", "blend(0.3)+alone", "exact+alone"),
    *("focus(2)", "focus(2, sort=true)", "craft(0.3)", "craft(1)"),
    *("reuse+context(20)", "query(0.3, end=4)+context(20)+alone"),
)
SHAPES: dict[str, tuple[tuple[str, ...], str]] = {
    "several": (CHUNKS, " What?"),
    "one": (CHUNKS[:1], " What?"),
    "one, no question": (CHUNKS[:1], ""),
    "several, no question": (CHUNKS, ""),
    "a token each": (("a", "b", "a"), "?"),
    "empty ones": (("", CHUNKS[0], "", CHUNKS[1], ""), "?"),
    "only an empty one": (("",), "?"),
    "the same twice": ((CHUNKS[1], CHUNKS[0], CHUNKS[1], CHUNKS[1]), "?"),
}


def result(outcome: Any) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


@pytest.fixture(scope="module")
def deep(load_tiny: Callable[..., Any]) -> Any:
    """Of enough layers that looks end on several."""
    return load_tiny(head_dim=16, num_hidden_layers=6).moved(kernels="native")


def tokens(driver: Any, context: Any) -> list[int]:
    decoded = driver.decode(context, max_tokens=12, ignore_eos=True)
    return list(decoded.outputs[1].ids[context.num_tokens :])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("plan", "prefix"),
    [*((plan, PREFIX) for plan in PLANS), *((plan, "") for plan in PLANS[::5])],
)
def test_tokens_of_a_prompt_are_computed_cached_or_fused(
    deep: Any, fused: Any, plan: str, shape: str, prefix: str
) -> None:
    """Each is one of these, if its chunks are there. Those of looks are computed twice."""
    driver, (chunks, rest) = deep.driver(stops=False), SHAPES[shape]
    both = fused(driver)
    parts = [part for part in (prefix, *map(Chunk, chunks), rest) if part or type(part) is Chunk]
    for num_known in (0, len(set(chunks) - {""})):
        (outcome,) = both.run(both.plain("prefill", None, *parts, fusion=plan))
        usage, report = result(outcome).usage, result(outcome).fusion
        counts = usage.prefill_tokens, usage.cached_tokens, usage.fused_tokens
        num_needed = outcome.outputs[0].num_tokens - 1
        assert min(counts) >= 0
        assert usage.cached_tokens + usage.fused_tokens < max(1, num_needed)
        assert report.num_tokens == num_needed + 1
        if num_known:
            assert report.num_encoded == 0
            assert usage.prefill_tokens == report.rows[0] or "craft" in plan  # tails behind others
            read = usage.cached_tokens + usage.fused_tokens
            if "focus" not in plan:  # whose looks see chunks that are then left out
                assert report.rows[-1] + read == num_needed
        else:
            assert report.num_encoded == len(set(chunks) - {""})
        assert list(report.rows) == sorted(report.rows, reverse=True)


@pytest.mark.parametrize("plan", ["query(0.15)", "blend(0.15)", "gradual(0.3)"])
def test_an_exact_prompt_between_two_passes_changes_nothing(
    deep: Any, fused: Any, plan: str
) -> None:
    """Its KV is in the tree and not in the pages that the last pass takes over: their last layers
    have nothing yet of what is no chunk."""
    found = []
    for is_between in (False, True):
        driver = deep.driver(stops=False)
        both = fused(driver)
        seen: list[Any] = []

        def ask(driver: Any = driver, seen: list[Any] = seen) -> None:
            seen.append(driver.prefill(None, PREFIX + SEPARATOR.join(CHUNKS[:3]) + " What came?"))

        both.on_last = ask if is_between else lambda: None
        between = [x for chunk in CHUNKS[1:] for x in (SEPARATOR, Chunk(chunk))]
        parts = (PREFIX, Chunk(CHUNKS[0]), *between, " What came?")
        (outcome,) = both.run(both.plain("prefill", None, *parts, fusion=plan))
        assert len(seen) == is_between
        found.append(tokens(driver, result(outcome).outputs[0]))
    assert found[0] == found[1]


@pytest.mark.parametrize("plan", ["query(0.2)", "blend(0.2)", "craft(0.5)"])
def test_steps_without_a_row_of_the_question_find_nothing(deep: Any, fused: Any, plan: str) -> None:
    found = []
    for token_budget in (512, 16, 3):
        driver = deep.driver(stops=False, token_budget=token_budget)
        both = fused(driver)
        for chunks in (CHUNKS, CHUNKS[::-1]):
            between = [x for chunk in chunks for x in (SEPARATOR, Chunk(chunk))]
            inputs = (None, PREFIX, *between, " What came?")
            (outcome,) = both.run(both.plain("prefill", *inputs, fusion=plan))
        found.append(tokens(driver, result(outcome).outputs[0]))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("length", [15, 16, 17])
@pytest.mark.parametrize("plan", ["blend(0.3)", "gradual(0.45)", "query(0.3)"])
def test_the_last_token_of_a_prompt_that_ends_in_a_chunk_is_never_chosen(
    deep: Any, fused: Any, plan: str, length: int
) -> None:
    """It has no KV to be far from another: also where it would begin a page."""
    driver = deep.driver(stops=False)
    first, last = CHUNKS[0][:16], CHUNKS[1] + "x" * 32
    last = last[: 32 + length - len(PREFIX)]
    outcome = fused(driver).prefill(plan, PREFIX, (first, last), "")
    # What is chosen, and the one before the last, from which the last is computed.
    assert result(outcome).fusion.rows[-1] - round(0.3 * len(last)) in (0, 1, 2)


BOS = 256


@pytest.fixture
def begun(deep: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every text that begins a prompt has a token before it."""
    monkeypatch.setattr(deep.tokenizer, "bos_id", BOS)
    monkeypatch.setattr(deep.tokenizer, "add_bos", True)
    return deep


@pytest.mark.parametrize(
    "plan", ["reuse", "query(0.2)", "lego(4)+alone", "exact+alone", "reuse+context(9)+alone"]
)
@pytest.mark.parametrize("first", [(None, PREFIX), (None, Turn("user")), (None, ""), (None,)])
def test_no_chunk_begins_as_a_prompt_does(
    begun: Any, fused: Any, plan: str, first: tuple[Any, ...]
) -> None:
    driver = begun.driver(stops=False)
    both, inputs = fused(driver), (*first, *map(Chunk, CHUNKS), "?")
    plain = driver.prefill(*inputs)
    for _ in range(2):
        (outcome,) = both.run(both.plain("prefill", *inputs, fusion=plan))
        assert result(outcome).outputs[0].ids == plain.ids
        assert min(outcome.usage.cached_tokens, outcome.usage.fused_tokens) >= 0
    if "exact" in plan:
        assert tokens(driver, outcome.outputs[0]) == tokens(driver, plain)
    assert plain.ids.count(BOS) == (Turn("user") not in first)  # whose template has another


def test_chunks_alone_behind_an_empty_context(begun: Any, fused: Any) -> None:
    driver = begun.driver(stops=False)
    both, empty = fused(driver), driver.prefill(None)
    for context in (None, empty, driver.prefill(empty)):
        inputs = (context, *map(Chunk, CHUNKS), "?")
        (outcome,) = both.run(both.plain("prefill", *inputs, fusion="lego(2)+alone"))
        assert result(outcome).outputs[0].ids == driver.prefill(None, *inputs[1:]).ids
    assert outcome.fusion.num_encoded == 0
