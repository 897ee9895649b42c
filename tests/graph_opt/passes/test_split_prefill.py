from functools import partial

from graph_text import assert_keeps, assert_rewrites, graph

from graph_opt.facts import Facts
from graph_opt.graph import Node
from graph_opt.passes.split_prefill import split_prefill
from graph_opt.tokens import num_tokens

LONG = "Answer the question from the passages that follow, and from nothing else."


def test_a_prompt_is_cut_wherever_its_parts_become_ready_later() -> None:
    assert_rewrites(
        split_prefill,
        f"""
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %h = search null %q %v [engine="s"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @system "{LONG}" @user %q %v "{LONG}" @sp %h @assistant [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        return %t
        """,
        f"""
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %h = search null %q %v [engine="s"]
        %c0 = context [engine="m"]
        %c1.0 = prefill %c0 @system "{LONG}" @user %q [engine="m"]
        %c1.1 = prefill %c1.0 %v "{LONG}" [engine="m"]
        %c1 = prefill %c1.1 @sp %h @assistant [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        return %t
        """,
    )


def test_a_short_head_stays_with_the_part_behind_it() -> None:
    assert_keeps(
        split_prefill,
        """
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Passages:" @sp %v [engine="m"]
        return %q
        """,
    )


def test_the_least_head_is_a_parameter() -> None:
    assert_rewrites(
        partial(split_prefill, min_head_tokens=2),
        """
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 @user "Passages:" @sp %v [engine="m"]
        return %q
        """,
        """
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %c0 = context [engine="m"]
        %c1.0 = prefill %c0 @user "Passages:" [engine="m"]
        %c1 = prefill %c1.0 @sp %v [engine="m"]
        return %q
        """,
    )


def test_a_late_part_in_front_makes_all_wait_so_nothing_is_cut() -> None:
    assert_keeps(
        split_prefill,
        f"""
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 %v "{LONG}" %q "{LONG}" [engine="m"]
        return %q
        """,
    )


def test_a_context_that_is_late_itself_makes_all_wait() -> None:
    assert_keeps(
        split_prefill,
        f"""
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %t, %c1 = decode %c0 [engine="m"]
        %v = embed %q [engine="e"]
        %c2 = prefill %c1 "{LONG}" %v [engine="m"]
        return %q
        """,
    )


def test_prompts_of_one_context_are_cut_where_they_part_ways() -> None:
    assert_rewrites(
        split_prefill,
        f"""
        %p = input [type="str"]
        %q = input [type="str"]
        %c = context [engine="m"]
        %x = prefill %c @system "{LONG}" @user @sp %p [engine="m"]
        %y = prefill %c @system "{LONG}" @user @sp %q [engine="m"]
        %z = prefill %c @system "{LONG}" [engine="m"]
        return %p
        """,
        f"""
        %p = input [type="str"]
        %q = input [type="str"]
        %c = context [engine="m"]
        %x.0 = prefill %c @system "{LONG}" [engine="m"]
        %x = prefill %x.0 @user @sp %p [engine="m"]
        %y.0 = prefill %c @system "{LONG}" [engine="m"]
        %y = prefill %y.0 @user @sp %q [engine="m"]
        %z = prefill %c @system "{LONG}" [engine="m"]
        return %p
        """,
    )


def test_three_prompts_are_cut_at_each_place_where_two_of_them_part() -> None:
    assert_rewrites(
        split_prefill,
        f"""
        %p = input [type="str"]
        %c = context [engine="m"]
        %x = prefill %c "{LONG}" "{LONG}1" %p "a" [engine="m"]
        %y = prefill %c "{LONG}" "{LONG}1" %p "b" [engine="m"]
        %z = prefill %c "{LONG}" "{LONG}2" [engine="m"]
        return %p
        """,
        f"""
        %p = input [type="str"]
        %c = context [engine="m"]
        %x.0 = prefill %c "{LONG}" [engine="m"]
        %x.1 = prefill %x.0 "{LONG}1" %p [engine="m"]
        %x = prefill %x.1 "a" [engine="m"]
        %y.0 = prefill %c "{LONG}" [engine="m"]
        %y.1 = prefill %y.0 "{LONG}1" %p [engine="m"]
        %y = prefill %y.1 "b" [engine="m"]
        %z.0 = prefill %c "{LONG}" [engine="m"]
        %z = prefill %z.0 "{LONG}2" [engine="m"]
        return %p
        """,
    )


def test_pieces_take_free_names_and_the_first_keeps_the_order() -> None:
    assert_rewrites(
        split_prefill,
        f"""
        %q = input [type="str"]
        %c1.0 = call %q [fn="f"]
        %v = embed %q [engine="e"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 "{LONG}" %v [engine="m"] after %c1.0
        %t, %c2 = decode %c1 [engine="m"] after %c1
        return %t
        """,
        f"""
        %q = input [type="str"]
        %c1.0 = call %q [fn="f"]
        %v = embed %q [engine="e"]
        %c0 = context [engine="m"]
        %c1.0_ = prefill %c0 "{LONG}" [engine="m"] after %c1.0
        %c1 = prefill %c1.0_ %v [engine="m"]
        %t, %c2 = decode %c1 [engine="m"] after %c1
        return %t
        """,
    )


def test_prompts_in_the_body_of_a_map_are_cut_by_what_happens_in_the_body() -> None:
    assert_rewrites(
        split_prefill,
        f"""
        %qs = input [type="list"]
        %m = map %qs {{
          %x = input [type="str"]
          %v = embed %x [engine="e"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 "{LONG}" %x %v [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          return %t
        }}
        return %m
        """,
        f"""
        %qs = input [type="list"]
        %m = map %qs {{
          %x = input [type="str"]
          %v = embed %x [engine="e"]
          %c0 = context [engine="m"]
          %c1.0 = prefill %c0 "{LONG}" %x [engine="m"]
          %c1 = prefill %c1.0 %v [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          return %t
        }}
        return %m
        """,
    )


LATE = f"""
    %q = input [type="str"]
    %v = embed %q [engine="e"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 "{LONG}" %v [engine="m"]
    return %q
"""


def test_an_engine_that_cannot_prefill_gets_whole_prompts() -> None:
    assert_keeps(partial(split_prefill, facts=Facts({"m": frozenset()})), LATE)


class Profiled:
    """A call costs `call_s`, a token 0.01 s."""

    def __init__(self, call_s: float) -> None:
        self.call_s = call_s

    def seconds(self, node: Node) -> float:
        return self.call_s + 0.01 * num_tokens(node.args[1:])


def test_a_piece_must_gain_more_than_its_call_costs_where_costs_are_known() -> None:
    cheap, dear = (Facts(cost=Profiled(call_s)) for call_s in (0.1, 0.3))
    assert str(split_prefill(graph(LATE), cheap)) == str(split_prefill(graph(LATE)))
    assert_keeps(partial(split_prefill, facts=dear), LATE)


def test_a_head_of_constants_stays_where_the_engine_keeps_it() -> None:
    can_pin = Facts({"m": frozenset({"prefill", "pin"})})
    assert_keeps(partial(split_prefill, facts=can_pin), LATE)
    before = f"""
    %q = input [type="str"]
    %v = embed %q [engine="e"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 "{LONG}" %q %v [engine="m"]
    return %q
    """
    cut = split_prefill(graph(before), can_pin)
    assert f'%c1.0 = prefill %c0 "{LONG}" %q' in str(cut)


def test_a_head_is_not_cut_off_where_its_device_has_no_time_for_it_meanwhile() -> None:
    one, two = (
        Facts(cost=Profiled(0.1), devices={"m": "cpu", "e": device}) for device in ("cpu", "gpu")
    )
    assert_keeps(partial(split_prefill, facts=one), LATE)
    assert str(split_prefill(graph(LATE), two)) == str(split_prefill(graph(LATE)))


def test_costs_that_nobody_measured_cut_by_rule() -> None:
    guessed, measured = (
        Facts(cost=Profiled(0.3), profiled=names) for names in (frozenset[str](), frozenset({"m"}))
    )
    assert str(split_prefill(graph(LATE), guessed)) == str(split_prefill(graph(LATE)))
    assert_keeps(partial(split_prefill, facts=measured), LATE)
