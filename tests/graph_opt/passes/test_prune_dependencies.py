from graph_text import assert_keeps, assert_rewrites

from graph_opt.passes.prune_dependencies import prune_dependencies
from graph_opt.text import parse


def test_calls_that_share_nothing_run_side_by_side() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %q = input [type="str"]
        %i = ingest %q null [engine="s"]
        %v = embed %q [engine="e"] after %i
        %r = rerank %q %v [engine="r"] after %v
        return %r
        """,
        """
        %q = input [type="str"]
        %i = ingest %q null [engine="s"]
        %v = embed %q [engine="e"]
        %r = rerank %q %v [engine="r"]
        return %r
        """,
    )


def test_effects_stay_ordered_when_the_pure_node_between_them_is_freed() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %q = input [type="str"]
        %a = call %q [fn="send"]
        %b = embed %q [engine="e"] after %a
        %c = call %q [fn="send"] after %b
        return %c
        """,
        """
        %q = input [type="str"]
        %a = call %q [fn="send"]
        %b = embed %q [engine="e"]
        %c = call %q [fn="send"] after %a, %b
        return %c
        """,
    )


def test_an_effect_comes_after_all_before_it_that_may_fail_and_pure_work_starts_early() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %q = input [type="str"]
        %a = call %q [fn="check", pure=true]
        %b = embed %q [engine="e"] after %a
        %p = pack %q %q
        %j = join %b
        %w = call %q [fn="send"] after %b
        %c = call %q [fn="check", pure=true] after %w
        return %p, %j, %c
        """,
        """
        %q = input [type="str"]
        %a = call %q [fn="check", pure=true]
        %b = embed %q [engine="e"]
        %p = pack %q %q
        %j = join %b
        %w = call %q [fn="send"] after %a, %j
        %c = call %q [fn="check", pure=true]
        return %p, %j, %c
        """,
    )


def test_a_prompt_fails_where_it_is_decoded() -> None:
    assert_keeps(
        prune_dependencies,
        """
        %q = input [type="str"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 %q [engine="m"]
        %w = call %q [fn="send"]
        %t, %c2 = decode %c1 [engine="m"]
        %v = call %q [fn="send"] after %w, %t
        return %v
        """,
    )


def test_reads_of_a_store_stay_between_the_writes_around_them_and_not_in_a_row() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %q = input [type="str"]
        %i = ingest %q null [engine="s"]
        %h = search null %q [engine="s"] after %i
        %k = search null %q [engine="s", k=2] after %h
        %j = ingest %q null [engine="s"] after %k
        %other = ingest %q null [engine="t"] after %j
        return %h, %k
        """,
        """
        %q = input [type="str"]
        %i = ingest %q null [engine="s"]
        %h = search null %q [engine="s"] after %i
        %k = search null %q [engine="s", k=2] after %i
        %j = ingest %q null [engine="s"] after %h, %k
        %other = ingest %q null [engine="t"] after %j
        return %h, %k
        """,
    )


def test_a_data_edge_makes_the_control_edge_redundant() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %b = format %a
        %c = call %b [fn="g"] after %a
        return %c
        """,
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %b = format %a
        %c = call %b [fn="g"]
        return %c
        """,
    )


def test_effects_that_no_edge_orders_come_in_the_programs_order() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %b = ingest %q [engine="s"]
        %h = search null %q [engine="s"]
        return %a, %h
        """,
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %b = ingest %q [engine="s"] after %a
        %h = search null %q [engine="s"] after %b
        return %a, %h
        """,
    )


def test_a_search_of_an_index_is_ordered_by_data_and_pure_calls_by_nothing() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %q = input [type="str"]
        %i = ingest %q null [engine="s"]
        %h = search %i %q [engine="s"] after %i
        %a = call %q [fn="f", pure=true] after %h
        return %h, %a
        """,
        """
        %q = input [type="str"]
        %i = ingest %q null [engine="s"]
        %h = search %i %q [engine="s"]
        %a = call %q [fn="f", pure=true]
        return %h, %a
        """,
    )


def test_only_maps_with_effects_stay_sequential_and_bodies_are_pruned_too() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %qs = input [type="list"]
        %a = map %qs [order="sequential"] {
          %x = input [type="str"]
          %u = embed %x [engine="e"]
          %v = embed %x [engine="e"] after %u
          return %v
        }
        %b = map %qs [order="sequential"] after %a {
          %x = input [type="str"]
          %y = call %x [fn="send"]
          return %y
        }
        %c = call %qs [fn="send"] after %b
        return %a, %c
        """,
        """
        %qs = input [type="list"]
        %a = map %qs {
          %x = input [type="str"]
          %u = embed %x [engine="e"]
          %v = embed %x [engine="e"]
          return %v
        }
        %b = map %qs [order="sequential"] after %a {
          %x = input [type="str"]
          %y = call %x [fn="send"]
          return %y
        }
        %c = call %qs [fn="send"] after %b
        return %a, %c
        """,
    )


def test_inside_a_body_effects_wait_for_what_may_fail_before_them_in_the_body() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %qs = input [type="list"]
        %a = map %qs [order="sequential"] {
          %x = input [type="str"]
          %u = embed %x [engine="e"]
          %y = call %x [fn="send"]
          return %y
        }
        return %a
        """,
        """
        %qs = input [type="list"]
        %a = map %qs [order="sequential"] {
          %x = input [type="str"]
          %u = embed %x [engine="e"]
          %y = call %x [fn="send"] after %u
          return %y
        }
        return %a
        """,
    )


def test_a_stream_does_not_put_its_reader_after_its_maker() -> None:
    assert_keeps(
        prune_dependencies,
        """
        %qs = input [type="list"]
        %m = map %qs [order="sequential"] {
          %x = input [type="str"]
          %y = ingest %x [engine="s"]
          return %y
        }
        %n = map ~%m after %m {
          %x = input [type="str"]
          %y = search null %x [engine="s"]
          return %y
        }
        %c = call "x" [fn="send"] after %n
        return %c
        """,
    )


def test_branches_with_effects_keep_their_place_and_loops_without_lose_it() -> None:
    assert_rewrites(
        prune_dependencies,
        """
        %q = input [type="str"]
        %a = cond %q {
          %y = call "x" [fn="send"]
          return %y
        } else {
          %y = const [value="no"]
          return %y
        }
        %l = loop %q [max=2] after %a {
          %s = input [type="str"]
          %t = embed %s [engine="e"]
          return %t, %s
        }
        %c = call %q [fn="send"] after %l
        return %a, %c
        """,
        """
        %q = input [type="str"]
        %a = cond %q {
          %y = call "x" [fn="send"]
          return %y
        } else {
          %y = const [value="no"]
          return %y
        }
        %l = loop %q [max=2] {
          %s = input [type="str"]
          %t = embed %s [engine="e"]
          return %t, %s
        }
        %c = call %q [fn="send"] after %a, %l
        return %a, %c
        """,
    )


def test_a_call_that_reads_the_world_stays_behind_one_that_may_change_it() -> None:
    before = parse("""\
    graph g {
      %x = input [type="str"]
      %w = call %x [engine="python", fn="write"]
      %a = call %x [engine="python", fn="load", pure=true, reads=true] after %w
      %b = call %x [engine="python", fn="compute", pure=true] after %a
      %all = pack %a %b
      return %all
    }""")
    after = prune_dependencies(before)
    assert after.node("a").after == ("w",)
    assert after.node("b").after == ()
