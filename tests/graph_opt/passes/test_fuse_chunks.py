"""Prompts that read the KV of their joined items: which, by which plan, and what the graph says."""

import pytest
from graph_text import assert_keeps, assert_rewrites, graph

from graph_opt.analysis.fusion_choices import FusionChoice, fusion_choices
from graph_opt.errors import GraphError
from graph_opt.facts import Facts, FusionFacts, PlanQuality
from graph_opt.graph import Graph, Node
from graph_opt.passes.fuse_chunks import fuse_chunks
from graph_opt.pipeline import PASSES, optimize
from graph_opt.tokens import num_tokens

ABLE = {"m": frozenset({"prefill", "fork", "fusion"})}
PLANS = {
    "reuse": PlanQuality(0.0, 0.05),
    "lego(16)": PlanQuality(0.2, 0.17),
    "query(0.15)": PlanQuality(0.5, 0.24),
    "blend(0.15)": PlanQuality(0.3, 0.25),
    "query(0.3)": PlanQuality(0.75, 0.38),
}


class TokenCost:
    """A prefill takes 10 ms and 1 ms a token; a joined text has 1000."""

    def seconds(self, node: Node) -> float:
        if node.op != "prefill":
            return 0.0
        joined = sum(1000 - 16 for value in node.inputs[1:] if value in ("docs", "text"))
        return 0.010 + 0.001 * (num_tokens(node.args[1:]) + joined)


def facts(default: str | None = None, cost: TokenCost | None = None, **able: frozenset[str]):
    fusion = FusionFacts(default, {"m": "local:small"}, {"m": PLANS})
    return Facts(able or ABLE, cost, fusion=fusion)


def rag(join: str = "", prefill: str = "", head: str = '@user "Passages:"') -> str:
    return f"""
        %q = input [type="str"]
        %docs = input [type="list[Doc]"]
        %text = join %docs{join}
        %c0 = context [engine="m"]
        %c1 = prefill %c0 {head} %text "Question:" @sp %q @assistant [engine="m"{prefill}]
        %t, %c2 = decode %c1 [engine="m"]
        return %t
        """


def choice(lines: str, given: Facts) -> FusionChoice:
    (only,) = fusion_choices(graph(lines), given)
    return only


def test_a_named_plan_stands_in_the_prefill_and_its_text_is_marked() -> None:
    assert_rewrites(
        lambda g: fuse_chunks(g, facts()),
        rag(' [reuse="lego(16)"]'),
        """
        %q = input [type="str"]
        %docs = input [type="list[Doc]"]
        %text = join %docs [chunks=true, reuse="lego(16)"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Passages:" @chunks %text "Question:" @sp %q @assistant """
        """[engine="m", fusion="lego(16)"]
        %t, %c2 = decode %c1 [engine="m"]
        return %t
        """,
    )


@pytest.mark.parametrize("default", [None, "exact"])
def test_without_a_wish_nothing_changes(default: str | None) -> None:
    assert_keeps(lambda g: fuse_chunks(g, facts(default)), rag())


def test_the_app_can_switch_off_what_joins_ask_for() -> None:
    assert_keeps(lambda g: fuse_chunks(g, facts("exact")), rag(' [reuse="lego(16)"]'))


@pytest.mark.parametrize(
    ("join", "model", "app", "plan"),
    [
        ('[reuse="lego(16)"]', "reuse", "query(0.3)", "lego(16)"),
        ('[reuse="fuse"]', "reuse", "query(0.3)", "reuse"),
        ('[reuse="fuse"]', None, "query(0.3)", "query(0.3)"),
        ('[reuse="fuse"]', None, None, "query(0.15)"),
        ('[reuse="fuse"]', "exact", None, "query(0.15)"),
        ("", "reuse", "query(0.3)", "reuse"),
        ("", None, "auto(0.6)", "query(0.3)"),
    ],
)
def test_the_join_comes_before_the_model_and_the_model_before_the_app(
    join: str, model: str | None, app: str | None, plan: str
) -> None:
    of_model = "" if model is None else f', reuse="{model}"'
    assert choice(rag(f" {join}" if join else "", of_model), facts(app)).plan == plan


@pytest.mark.parametrize(("join", "model"), [('[reuse="exact"]', "reuse"), ("", "exact")])
def test_the_join_or_the_model_can_say_no_to_a_default(join: str, model: str) -> None:
    lines = rag(f" {join}" if join else "", f', reuse="{model}"')
    assert fusion_choices(graph(lines), facts("lego(16)")) == []


def test_auto_takes_the_cheapest_plan_above_the_floor() -> None:
    assert choice(rag(' [reuse="auto(0.25)"]'), facts()).plan == "query(0.15)"
    assert choice(rag(' [reuse="auto(0.1)"]'), facts()).plan == "lego(16)"
    found = choice(rag(' [reuse="auto(0.8)"]'), facts())
    assert found.plan is None
    assert found.reason == "no plan recovers R 0.80 (the best is query(0.3), 0.75)"


def test_what_the_engine_would_refuse_is_not_chosen_and_said() -> None:
    fusion = FusionFacts(None, {}, {"m": PLANS}, {"m": 0.6})
    given = Facts(ABLE, fusion=fusion)
    assert choice(rag(' [reuse="auto(0.1)"]'), given).plan == "query(0.3)"
    named = choice(rag(' [reuse="lego(16)"]'), given)
    assert named.plan == "lego(16)"
    assert named.reason == "asked for, R 0.20: the engine refuses it, R must be 0.60"


def test_an_engine_that_cannot_fuse_gets_exact_prompts_and_a_reason() -> None:
    found = choice(rag(' [reuse="lego(16)"]'), facts(m=frozenset({"prefill"})))
    assert (found.plan, found.reason) == (None, "the engine 'm' cannot reuse KV of chunks")


def test_auto_without_a_profile_is_exact_and_says_how_to_make_one() -> None:
    unchecked = Facts(ABLE, fusion=FusionFacts(None, {"m": "local:small"}, {}))
    found = choice(rag(' [reuse="fuse"]'), unchecked)
    assert found.plan is None
    assert "run `teola fusion-check local:small`" in found.reason
    assert choice(rag(' [reuse="lego(16)"]'), unchecked).plan == "lego(16)"


def test_auto_is_exact_where_no_other_query_has_the_same_prefix() -> None:
    lines = rag(' [reuse="fuse"]', head='@user "Question:" %q "Passages:"')
    found = choice(lines, facts())
    assert found.plan is None
    assert "put the question behind the passages" in found.reason


def test_auto_takes_what_is_encoded_behind_nothing_where_prefixes_differ() -> None:
    plans = {**PLANS, "query(0.3)+alone": PlanQuality(0.6, 0.4)}
    given = Facts(ABLE, fusion=FusionFacts(None, {}, {"m": plans}))
    lines = rag(' [reuse="fuse"]', head='@user "Question:" %q "Passages:"')
    assert choice(lines, given).plan == "query(0.3)+alone"
    assert choice(rag(' [reuse="fuse"]'), given).plan == "query(0.15)"


def test_where_costs_are_known_the_least_length_is_where_fusion_is_faster() -> None:
    found = choice(rag(' [reuse="fuse"]'), facts(cost=TokenCost()))
    # (1 - 0.19) x 1 ms a token against two calls of 10.25 ms: 25 tokens, to the next power
    assert found.from_tokens == 32
    exact_s, fused_s = found.times_s
    assert exact_s == pytest.approx(1.0315, abs=0.01)
    assert fused_s == pytest.approx(exact_s - 0.81 + 0.0205, abs=0.01)


def test_where_costs_are_not_known_short_prompts_are_exact_as_a_rule() -> None:
    assert choice(rag(' [reuse="fuse"]'), facts()).from_tokens == 500


def test_a_plan_that_saves_nothing_is_not_taken() -> None:
    class Flat:
        def seconds(self, node: Node) -> float:
            return 0.1 if node.op == "prefill" else 0.0

    found = choice(rag(' [reuse="fuse"]'), facts(cost=Flat()))  # type: ignore[arg-type]
    assert (found.plan, found.reason) == (None, "query(0.15) would save nothing on this engine")


def test_two_plans_in_one_prompt_are_refused() -> None:
    lines = """
        %docs = input [type="list[Doc]"]
        %a = join %docs [reuse="reuse"]
        %b = join %docs [reuse="lego(16)"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 %a %b "Why?" [engine="m"]
        return %a
        """
    with pytest.raises(
        GraphError, match=r"%c1 joins .*'reuse' and reuse='lego\(16\)'; a prompt is"
    ):
        fuse_chunks(graph(lines), facts())


def test_a_text_that_is_joined_outside_is_marked_in_the_body_that_reads_it() -> None:
    fused = fuse_chunks(
        graph("""
        %qs = input [type="list[str]"]
        %docs = input [type="list[Doc]"]
        %text = join %docs [reuse="lego(16)"]
        %m = map %qs %text {
          %q = input [type="str"]
          %given = input [type="str"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 %q %given "Answer." [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          return %t
        }
        return %m
        """),
        facts(),
    )
    assert "%text = join %docs [chunks=true" in str(fused)
    assert '%q @chunks %given "Answer." [engine="m", fusion="lego(16)"]' in str(fused)


def test_a_state_of_a_loop_is_no_joined_text() -> None:
    lines = """
        %docs = input [type="list[Doc]"]
        %text = join %docs [reuse="lego(16)"]
        %l = loop %text [max=3] {
          %state = input [type="str"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 %state "Go on." [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          %on = const [value=true]
          return %t, %on
        }
        return %l
        """
    assert fusion_choices(graph(lines), facts()) == []


def optimized(lines: str, **able: frozenset[str]) -> Graph:
    return optimize(graph(lines), PASSES, facts(**able))


LONG = "Answer the question from the passages that follow, and from nothing else."


def test_a_fused_prompt_is_cut_before_its_chunks_and_not_behind_them() -> None:
    lines = f"""
        %q = input [type="str"]
        %hits = search null %q null [engine="s"]
        %text = join %hits [reuse="lego(16)"]
        %c0 = context [engine="m"]
        %c = prefill %c0 @user "Name it: {LONG}" %q @assistant [engine="m"]
        %name, %c.2 = decode %c [engine="m"]
        %c1 = prefill %c0 @user "{LONG}" @sp %text "{LONG}" %name @assistant [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        return %t
        """
    text = str(optimized(lines))
    assert f'%c1.0 = prefill %c0 @user "{LONG}" [engine="m"]\n' in text
    assert f'%c1 = prefill %c1.0 @sp @chunks %text "{LONG}" %name @assistant [' in text


def test_two_prompts_over_the_same_chunks_are_fused_each() -> None:
    lines = f"""
        %q = input [type="str"]
        %docs = input [type="list[Doc]"]
        %text = join %docs [reuse="lego(16)"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "{LONG}" %text "Why?" @sp %q @assistant [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        %d1 = prefill %c0 @user "{LONG}" %text "When?" @sp %q @assistant [engine="m"]
        %u, %d2 = decode %d1 [engine="m"]
        %both = pack %t %u
        return %both
        """
    text = str(optimized(lines))
    assert f'%c1.0 = prefill %c0 @user "{LONG}" [engine="m"]\n' in text
    assert '%c1 = prefill %c1.0 @chunks %text "Why?"' in text
    assert '%d1 = prefill %c1.0 @chunks %text "When?"' in text


def test_a_fused_prefill_stays_a_request_of_its_own_before_its_decode() -> None:
    able = frozenset({"prefill", "fork", "fusion", "decode_parts"})
    assert "%t, %c2 = decode %c1 [" in str(optimized(rag(' [reuse="lego(16)"]'), m=able))
