"""Plans choose tokens from scores, and are named in requests."""

from typing import Any

import numpy as np
import pytest

from backends.errors import RequestRejected
from backends.llm.fusion.look import Attention, Deviation
from backends.llm.fusion.named_plans import plan_from
from backends.llm.fusion.plans import (
    Alone,
    Blend,
    Craft,
    Encoding,
    Exact,
    Focus,
    Gradual,
    InContext,
    Layout,
    Lego,
    Query,
    Random,
    WithFirst,
    encoding_of,
)

LAYOUT = Layout((4, 6, 5), (True, False, False), num_layers=30)
RISING = np.arange(15, dtype=np.float32)


def chosen(plan: Any, *found: Any) -> list[int]:
    return list(np.flatnonzero(plan.choose(LAYOUT, found)))


def test_lego_computes_the_first_tokens_of_each_chunk_that_is_not_exact() -> None:
    assert chosen(Lego(2)) == [4, 5, 10, 11]
    assert chosen(Lego(99)) == list(range(4, 15))


def test_a_ratio_is_one_of_the_tokens_that_are_not_exact() -> None:
    assert chosen(Query(3 / 11), RISING) == [12, 13, 14]
    assert chosen(Query(3 / 11), -RISING) == [4, 5, 6]
    assert chosen(Query(1.0), RISING) == list(range(4, 15))


def test_of_equal_scores_the_first_are_chosen() -> None:
    assert chosen(Query(2 / 11), np.zeros(15, np.float32)) == [4, 5]


def test_scores_that_are_no_numbers_come_last() -> None:
    scores = np.where(RISING < 8, np.nan, RISING - 20)
    assert 14 in chosen(Query(1 / 11), np.where(np.isnan(scores), np.nan, RISING))


def test_a_question_is_looked_at_before_anything_is_chosen() -> None:
    assert chosen(Query(0.5)) == []
    assert Query(0.5).looks(LAYOUT) == (Attention(20, 30),)
    assert Query(0.5, first=3, end=9).looks(LAYOUT) == (Attention(3, 9),)
    assert Query(0.5, first=3, end=99).looks(LAYOUT) == (Attention(3, 30),)


def test_blend_computes_all_up_to_its_check() -> None:
    assert chosen(Blend(0.5)) == list(range(4, 15))
    assert Blend(0.5, check=2, v=True).looks(LAYOUT) == (Deviation(2, "v"),)
    assert chosen(Blend(2 / 11), RISING) == [13, 14]


def test_a_gradual_choice_is_nested() -> None:
    plan, random = Gradual(0.3), np.random.default_rng(0)
    found, before = [], set(range(4, 15))
    layers = [look.layer for look in plan.looks(LAYOUT) if isinstance(look, Deviation)]
    assert layers == sorted(set(layers))
    for _ in layers:
        found.append(random.random(15, np.float32))
        now = set(chosen(plan, *found))
        assert now < before or len(now) <= 2
        before = now
    assert len(before) == round(0.2 * 11)


def test_random_tokens_depend_on_the_seed_alone() -> None:
    assert chosen(Random(0.4)) == chosen(Random(0.4)) != chosen(Random(0.4, seed=1))
    assert len(chosen(Random(0.4))) == round(0.4 * 11)


def test_focus_keeps_the_chunks_that_draw_most_attention_for_their_length() -> None:
    scores = np.repeat(np.array((3.0, 1.0, 2.0), np.float32), LAYOUT.lengths)
    assert Focus(2).order(LAYOUT, [scores]) == (0, 2)
    assert Focus(2, sort=True).order(LAYOUT, [scores]) == (2, 0)
    assert Focus(9, sort=True).order(LAYOUT, [scores]) == (1, 2, 0)
    assert Focus(0).order(LAYOUT, [scores]) == (0,)
    assert chosen(Focus(2), scores) == []


@pytest.mark.parametrize("lengths", [(0, 4, 0), (4, 0, 0), (0, 0, 4), (0,)])
def test_focus_gives_a_chunk_without_tokens_no_attention(lengths: tuple[int, ...]) -> None:
    layout = Layout(lengths, (False,) * len(lengths), num_layers=30)
    found = [np.ones(sum(lengths), np.float32)]
    assert Focus(1).order(layout, found) == (lengths.index(max(lengths)),)


def test_a_modifier_adds_to_what_its_plan_chooses() -> None:
    assert chosen(WithFirst(Query(1 / 11), 1), RISING) == [4, 10, 14]


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("exact", Exact()),
        ("lego(8) + alone", Alone(Lego(8))),
        ("lego(0)+context(256)", InContext(Lego(0), 256)),
        ("lego(4)+alone+context(9)", Alone(InContext(Lego(4), 9))),
        ("query(0.1)+alone+first(2)", Alone(WithFirst(Query(0.1), 2))),
        ("focus(3, sort=true)", Focus(3, sort=True)),
        ("craft(0.5)", Craft(0.5)),
        ("lego(16)", Lego(16)),
        (" query( 0.15 ) ", Query(0.15)),
        ("query(0.15, first=2, end=12)", Query(0.15, 2, 12)),
        ("blend(0.2, v=true)", Blend(0.2, v=True)),
        ("random(.5, seed=3)", Random(0.5, 3)),
        ("query(0.15)+first(4)", WithFirst(Query(0.15), 4)),
    ],
)
def test_a_plan_is_named(text: str, plan: Any) -> None:
    assert plan_from(text) == plan


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is no plan; there are exact, reuse, lego"),
        ("lego", "lego needs k"),
        ("lego()", "lego needs k"),
        ("lego(-1)", "k must be a whole number, not '-1'"),
        ("lego(1.5)", "k must be a whole number"),
        ("reuse(3)", "reuse takes nothing, not '3'"),
        ("blend(15)", "ratio is a share from 0 to 1, not 15"),
        ("blend(x)", "ratio must be a share from 0 to 1, not 'x'"),
        ("blend(0.1, v=1)", "v must be true or false"),
        ("blend(0.1, ratio=0.2)", "blend takes ratio, check, v, not 'ratio=0.2'"),
        ("blend(0.1, 1, true, 4)", "not '4'"),
        ("magic(1)", "'magic(1)' is no plan"),
        ("reuse+last(3)", "'last(3)' is no modifier; there are first(k), context(k), alone"),
        ("reuse+", "'' is no modifier"),
        ("focus(2)+first(1)", "focus(2) takes no modifier"),
        ("query(0.1, end=0)", "query(0.1, end=0): there is no layer from 0 up to 0"),
        ("query(0.1, 5, 5)+first(2)", "there is no layer from 5 up to 5"),
        ("craft(0.5)+alone", "craft(0.5) takes no modifier"),
        ("reuse+context(0)", "context takes 1 to 512 tokens, not 0"),
        ("reuse+context(513)", "context takes 1 to 512 tokens, not 513"),
        ("reuse+context", "'context' is no modifier"),
        (7, "short text"),
        (None, "short text"),
    ],
)
def test_a_text_that_names_no_plan_is_refused(text: Any, why: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        plan_from(text)
    assert why in str(caught.value)
    assert str(caught.value).startswith(f"fusion={text!r}")


@pytest.mark.parametrize("text", ["lego(" + "9" * 300, "x" * 10_000_000, {"a": "b" * 10_000_000}])
def test_a_refusal_shows_a_part_of_a_long_text(text: Any) -> None:
    with pytest.raises(
        RequestRejected, match=r"fusion=.*\.\.\..*: it must be a short text"
    ) as caught:
        plan_from(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("reuse", Encoding()),
        ("lego(4)+first(2)", Encoding()),
        ("lego(4)+alone", Encoding(is_alone=True)),
        ("lego(4)+context(64)", Encoding(num_context=64)),
        ("query(0.1)+context(64)+first(4)", Encoding(num_context=64)),
        ("query(0.1)+context(64)+alone", Encoding(is_alone=True, num_context=64)),
    ],
)
def test_a_plan_says_how_its_chunks_are_encoded(text: str, encoding: Encoding) -> None:
    assert encoding_of(plan_from(text)) == encoding
