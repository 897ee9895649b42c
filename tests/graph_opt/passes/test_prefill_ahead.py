"""A prompt is computed with the documents of the search while a reranker orders them."""

from functools import partial
from random import Random

import pytest
from graph_reference import execute
from graph_text import assert_keeps, assert_rewrites, graph

from graph_opt.analysis.ahead_choices import ahead_choices
from graph_opt.facts import Facts
from graph_opt.graph import Graph, Node
from graph_opt.passes.prefill_ahead import prefill_ahead

APART = {"m": "gpu:0", "r": "gpu:1"}
ASKED = Facts(prefill_ahead=True)


class Cost:
    """Of a reranker as said; of a call of the LLM 10 ms."""

    def __init__(self, rerank_s: float) -> None:
        self._rerank_s = rerank_s

    def seconds(self, node: Node) -> float:
        return self._rerank_s if node.op == "rerank" else 0.01


def run(facts: Facts = ASKED) -> partial[Graph]:
    return partial(prefill_ahead, facts=facts)


BEFORE = """
    %q = input [type="str"]
    %hits = search null %q null [engine="s", k=20]
    %best = rerank %q %hits [engine="r", k=5]
    %some = apply %best [fn="slice", start=1]
    %text = join %some [sep="#"]
    %c0 = context [engine="m"]
    """
PROMPT = """%t, %c1 = decode %c0 @user "About:" @sp %text "?" %q [adapter="a", engine="m", n=2]
    return %t
    """
AHEAD = """%best.ahead = apply %hits [ahead_of="t", fn="slice", stop=5]
    %some.ahead = apply %best.ahead [ahead_of="t", fn="slice", start=1]
    %text.ahead = join %some.ahead [ahead_of="t", sep="#"]
    """
ATTRS = 'adapter="a", ahead_of="t", asked=true, engine="m"'
GUESS = f"""%t.ahead = prefill %c0 @user "About:" @sp %text.ahead "?" %q [{ATTRS}]
    """


def test_the_best_of_the_search_are_put_where_the_best_of_the_reranker_will_be() -> None:
    assert_rewrites(run(), BEFORE + PROMPT, BEFORE + AHEAD + GUESS + PROMPT)


def test_a_second_run_finds_nothing() -> None:
    once = run()(graph(BEFORE + PROMPT))
    assert str(run()(once)) == str(once)


def test_a_prefill_is_guessed_as_a_decode_is_and_all_documents_where_all_are_joined() -> None:
    before = BEFORE.replace(', k=5]\n    %some = apply %best [fn="slice", start=1]', "]")
    before = before.replace("join %some", "join %best")
    prompt = '%c1 = prefill %c0 %text [engine="m"]\n    %t, %c2 = decode %c1 [engine="m"]\n    '
    assert_rewrites(
        run(),
        before + prompt + "return %t",
        f"""{before}%text.ahead = join %hits [ahead_of="c1", sep="#"]
    %c1.ahead = prefill %c0 %text.ahead [ahead_of="c1", asked=true, engine="m"]
    {prompt}return %t""",
    )


def test_what_comes_later_than_the_documents_ends_the_guess() -> None:
    late = BEFORE + '%n = call %best [engine="python", fn="count", pure=true]\n    '
    prompt = PROMPT.replace('"?" %q', '"?" @sp %n %q')
    guess = GUESS.replace(' "?" %q', ' "?"')
    assert_rewrites(run(), late + prompt, late + AHEAD + guess + prompt)


def test_a_server_computes_it_ahead() -> None:
    facts = Facts({"m": frozenset(("warm_up", "prefill", "cached_tokens"))}, prefill_ahead=True)
    guess = GUESS.replace("ahead_of=", "ahead=true, ahead_of=")
    assert_rewrites(run(facts), BEFORE + PROMPT, BEFORE + AHEAD + guess + PROMPT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('[sep="#"]', '[template="{text} {score:.2f}"]'),  # the reranker gives another score
        ("apply %best", "apply %hits"),  # not reranked
        ('apply %best [fn="slice", start=1]', "order %best"),  # as earlier prompts had them
        ("@sp %text", "@sp @chunks %text"),  # encoded ahead
        ('@user "About:"', "@user %best"),  # a head that is as late
    ],
)
def test_other_prompts_stay_as_they_are(old: str, new: str) -> None:
    assert old in BEFORE + PROMPT
    assert_keeps(run(), (BEFORE + PROMPT).replace(old, new))


@pytest.mark.parametrize("able", [("cached_tokens",), ("prefill",)])
def test_engines_that_cannot_tell_what_it_saves_do_not_guess(able: tuple[str, ...]) -> None:
    facts = Facts({"m": frozenset(able)}, prefill_ahead=True)  # type: ignore[arg-type]
    assert_keeps(run(facts), BEFORE + PROMPT)
    (choice,) = ahead_choices(graph(BEFORE + PROMPT), facts)
    assert (choice.node, choice.is_made) == ("t", False)
    assert "'m' does not say" in choice.reason


def test_unasked_it_needs_costs_that_say_the_engine_waits() -> None:
    seen = Facts(cost=Cost(0.02), devices=APART)
    guess = GUESS.replace(", asked=true", "")
    assert_rewrites(run(seen), BEFORE + PROMPT, BEFORE + AHEAD + guess + PROMPT)
    (choice,) = ahead_choices(graph(BEFORE + PROMPT), seen)
    assert choice.is_made
    for facts in (
        Facts(),
        Facts(devices=APART),
        Facts(cost=Cost(0.02)),
        Facts(cost=Cost(0.02), devices={"m": "cpu", "r": "cpu"}),
        Facts(cost=Cost(0.005), devices=APART),
        Facts({"m": frozenset(("warm_up",))}, Cost(0.02), devices=APART),
        Facts(cost=Cost(0.02), devices=APART, prefill_ahead=False),
    ):
        assert_keeps(run(facts), BEFORE + PROMPT)
        assert ahead_choices(graph(BEFORE + PROMPT), facts) == []


def test_a_prompt_in_a_body_gets_its_own() -> None:
    lines = f"""
    %qs = input [type="list[str]"]
    %m = map %qs {{
    {(BEFORE + PROMPT).strip()}
    }}
    return %m
    """
    assert "%t.ahead = prefill %c0" in str(run()(graph(lines)))
    assert [choice.node for choice in ahead_choices(graph(lines), ASKED)] == ["m[].t"]


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_the_graph_means_the_same(seed: int) -> None:
    before = graph(BEFORE + PROMPT)
    assert execute(run()(before), ["why?"], Random(seed)) == execute(before, ["why?"])
