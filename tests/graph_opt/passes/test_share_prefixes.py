from functools import partial

from graph_text import assert_keeps, assert_rewrites

from graph_opt.facts import Facts
from graph_opt.passes.deduplicate import deduplicate
from graph_opt.passes.share_prefixes import share_prefixes

LONG = "Rate how well the passage answers the question."


def test_the_common_head_of_all_items_is_prefilled_once_in_front_of_the_map() -> None:
    assert_rewrites(
        share_prefixes,
        f"""
        %qs = input [type="list"]
        %q = input [type="str"]
        %m = map %qs %q {{
          %x = input [type="str"]
          %p = input [type="str"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 @system "{LONG}" @user %p @sp %x @assistant [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          return %t
        }}
        return %m
        """,
        f"""
        %qs = input [type="list"]
        %q = input [type="str"]
        %m.c0 = context [engine="m"]
        %m.c1 = prefill %m.c0 @system "{LONG}" @user %q [engine="m"]
        %m = map %qs %q %m.c1 {{
          %x = input [type="str"]
          %p = input [type="str"]
          %c1.head = input [engine="m", type="context"]
          %c0 = context [engine="m"]
          %c1 = prefill %c1.head @sp %x @assistant [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          return %t
        }}
        return %m
        """,
    )


def test_a_prefill_that_is_the_same_for_all_turns_of_a_loop_leaves_it_whole() -> None:
    assert_rewrites(
        share_prefixes,
        f"""
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %l = loop %q %c0 [max=3] {{
          %state = input [type="str"]
          %c = input [type="context"]
          %c1 = prefill %c "{LONG}" [engine="m"]
          %t, %d = decode %c1 [engine="m"]
          %c2 = prefill %c1 "ok?" %state [engine="m"]
          %u, %e = decode %c2 [engine="m"]
          return %t, %u
        }}
        return %l
        """,
        f"""
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %l.c1 = prefill %c0 "{LONG}" [engine="m"]
        %l = loop %q %c0 %l.c1 [max=3] {{
          %state = input [type="str"]
          %c = input [type="context"]
          %c1.head = input [engine="m", type="context"]
          %t, %d = decode %c1.head [engine="m"]
          %c2 = prefill %c1.head "ok?" %state [engine="m"]
          %u, %e = decode %c2 [engine="m"]
          return %t, %u
        }}
        return %l
        """,
    )


def test_equal_heads_in_a_body_are_one_and_short_pieces_count_together() -> None:
    assert_rewrites(
        partial(share_prefixes, min_head_tokens=6),
        """
        %qs = input [type="list"]
        %m = map %qs {
          %x = input [type="str"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 "sixteen letters." [engine="m"]
          %c2 = prefill %c1 "twelve more." %x [engine="m"]
          %d0 = context [engine="m"]
          %d1 = prefill %d0 "sixteen letters." [engine="m"]
          %d2 = prefill %d1 "twelve more." %x "and the rest" [engine="m"]
          return %x
        }
        return %m
        """,
        """
        %qs = input [type="list"]
        %m.c0 = context [engine="m"]
        %m.c1 = prefill %m.c0 "sixteen letters." [engine="m"]
        %m.c2 = prefill %m.c1 "twelve more." [engine="m"]
        %m = map %qs %m.c2 {
          %x = input [type="str"]
          %c2.head = input [engine="m", type="context"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 "sixteen letters." [engine="m"]
          %c2 = prefill %c2.head %x [engine="m"]
          %d0 = context [engine="m"]
          %d1 = prefill %d0 "sixteen letters." [engine="m"]
          %d2 = prefill %c2.head %x "and the rest" [engine="m"]
          return %x
        }
        return %m
        """,
    )


def test_a_head_is_hoisted_out_of_maps_in_maps_as_far_as_it_is_the_same() -> None:
    assert_rewrites(
        share_prefixes,
        f"""
        %lists = input [type="list"]
        %m = map %lists {{
          %list = input [type="list"]
          %n = map %list {{
            %x = input [type="str"]
            %c0 = context [engine="m"]
            %c1 = prefill %c0 "{LONG}" %x [engine="m"]
            %t, %c2 = decode %c1 [engine="m"]
            return %t
          }}
          return %n
        }}
        return %m
        """,
        f"""
        %lists = input [type="list"]
        %m.n.c0 = context [engine="m"]
        %m.n.c1 = prefill %m.n.c0 "{LONG}" [engine="m"]
        %m = map %lists %m.n.c1 {{
          %list = input [type="list"]
          %n.c1.head = input [engine="m", type="context"]
          %n.c0 = context [engine="m"]
          %n = map %list %n.c1.head {{
            %x = input [type="str"]
            %c1.head = input [engine="m", type="context"]
            %c0 = context [engine="m"]
            %c1 = prefill %c1.head %x [engine="m"]
            %t, %c2 = decode %c1 [engine="m"]
            return %t
          }}
          return %n
        }}
        return %m
        """,
    )


OWN_FIRST = """
    %qs = input [type="list"]
    %m = map %qs {{
      %x = input [type="str"]
      %c0 = context [engine="m"]
      %c1 = prefill %c0 {parts} [engine="m"]
      %t, %c2 = decode %c1 [engine="m"]
      %c3 = prefill %c2 "{long}" [engine="m"]
      return %t
    }}
    return %m
"""


def test_what_is_short_or_stands_behind_an_items_own_part_stays() -> None:
    assert_keeps(share_prefixes, OWN_FIRST.format(parts=f'@user %x "{LONG}"', long=LONG))
    assert_keeps(share_prefixes, OWN_FIRST.format(parts='@user "Rate:" %x', long=LONG))


def test_an_engine_without_kv_control_shares_nothing() -> None:
    remote = partial(share_prefixes, facts=Facts({"m": frozenset()}))
    assert_keeps(remote, OWN_FIRST.format(parts=f'"{LONG}" %x', long=LONG))


def test_a_branch_keeps_its_heads_for_it_may_never_run() -> None:
    assert_keeps(
        share_prefixes,
        f"""
        %q = input [type="str"]
        %a = cond %q %q {{
          %x = input [type="str"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 "{LONG}" %x [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          return %t
        }} else {{
          %x = input [type="str"]
          return %x
        }}
        return %a
        """,
    )


def test_heads_of_two_maps_are_merged_by_deduplicate() -> None:
    body = f"""{{
          %x = input [type="str"]
          %c0 = context [engine="m"]
          %c1 = prefill %c0 "{LONG}" %x [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          return %t
        }}"""
    forked = """{
          %x = input [type="str"]
          %c1.head = input [engine="m", type="context"]
          %c0 = context [engine="m"]
          %c1 = prefill %c1.head %x [engine="m"]
          %t, %c2 = decode %c1 [engine="m"]
          return %t
        }"""
    assert_rewrites(
        lambda graph: deduplicate(share_prefixes(graph)),
        f"""
        %p = input [type="list"]
        %q = input [type="list"]
        %m = map %p {body}
        %n = map %q {body}
        return %m, %n
        """,
        f"""
        %p = input [type="list"]
        %q = input [type="list"]
        %m.c0 = context [engine="m"]
        %m.c1 = prefill %m.c0 "{LONG}" [engine="m"]
        %m = map %p %m.c1 {forked}
        %n = map %q %m.c1 {forked}
        return %m, %n
        """,
    )
