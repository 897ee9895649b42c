from graph_text import assert_keeps, assert_rewrites

from graph_opt.passes.cull import cull


def test_nodes_nobody_reads_go_with_all_that_fed_only_them() -> None:
    assert_rewrites(
        cull,
        """
        %q = input [type="str"]
        %unused = input [type="str"]
        %c0 = context [engine="m"]
        %c1 = prefill %c0 %q [engine="m"]
        %t, %c2 = decode %c1 [engine="m", temperature=1]
        %u = format "to " %t
        return %q
        """,
        """
        %q = input [type="str"]
        %unused = input [type="str"]
        return %q
        """,
    )


def test_effects_stay_with_what_they_need() -> None:
    assert_keeps(
        cull,
        """
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %i = ingest %q %v [engine="s"]
        %a = call %q [fn="send"]
        return %q
        """,
    )


def test_one_read_output_keeps_a_decode() -> None:
    assert_keeps(
        cull,
        """
        %c0 = context [engine="m"]
        %c1 = prefill %c0 "Hi" [engine="m"]
        %t, %c2 = decode %c1 [engine="m"]
        %u, %c3 = decode %c2 [engine="m"]
        return %u
        """,
    )


def test_an_order_through_a_dropped_node_is_kept() -> None:
    assert_rewrites(
        cull,
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %b = embed %q [engine="e"] after %a
        %d = embed %q [engine="e2"] after %b
        %c = call %q [fn="h"] after %d
        return %q
        """,
        """
        %q = input [type="str"]
        %a = call %q [fn="f"]
        %c = call %q [fn="h"] after %a
        return %q
        """,
    )


def test_captures_that_no_body_reads_go_and_so_does_what_made_them() -> None:
    assert_rewrites(
        cull,
        """
        %qs = input [type="list"]
        %a = embed %qs [engine="e"]
        %b = format %qs
        %m = map %qs %a %b {
          %x = input [type="str"]
          %v = input [type="Vector"]
          %s = input [type="str"]
          %dead = join %v
          %r = format %x %s
          return %r
        }
        return %m
        """,
        """
        %qs = input [type="list"]
        %b = format %qs
        %m = map %qs %b {
          %x = input [type="str"]
          %s = input [type="str"]
          %r = format %x %s
          return %r
        }
        return %m
        """,
    )


def test_the_order_that_an_unread_capture_gave_is_kept() -> None:
    assert_rewrites(
        cull,
        """
        %qs = input [type="list"]
        %i = ingest %qs null [engine="s"]
        %m = map %qs %i {
          %x = input [type="str"]
          %y = input [type="Index"]
          %h = search null %x [engine="s"]
          return %h
        }
        return %m
        """,
        """
        %qs = input [type="list"]
        %i = ingest %qs null [engine="s"]
        %m = map %qs after %i {
          %x = input [type="str"]
          %h = search null %x [engine="s"]
          return %h
        }
        return %m
        """,
    )


def test_a_capture_stays_if_one_branch_reads_it() -> None:
    assert_rewrites(
        cull,
        """
        %q = input [type="str"]
        %a = cond %q %q %q {
          %x = input [type="str"]
          %y = input [type="str"]
          return %y
        } else {
          %x = input [type="str"]
          %y = input [type="str"]
          %e = embed %y [engine="e"]
          %t = format "no"
          return %t
        }
        return %a
        """,
        """
        %q = input [type="str"]
        %a = cond %q %q {
          %y = input [type="str"]
          return %y
        } else {
          %y = input [type="str"]
          %t = format "no"
          return %t
        }
        return %a
        """,
    )


def test_a_loop_keeps_its_state_and_both_results() -> None:
    assert_keeps(
        cull,
        """
        %q = input [type="str"]
        %l = loop %q [max=2] {
          %s = input [type="str"]
          %t = format "next"
          %go = format "no"
          return %t, %go
        }
        return %l
        """,
    )


def test_what_may_be_there_to_fail_stays_though_nobody_reads_it() -> None:
    guarded = """
        %q = input [type="str"]
        %ok = call %q [fn="check", pure=true]
        %c = context [engine="m"]
        %t, %c1 = decode %c @user %q [engine="m"]
        %model = parse %t [type="Order"]
        %each = map %q {
          %item = input [type="str"]
          %seen = call %item [fn="check", pure=true]
          return %item
        }
        return %q
        """
    assert_rewrites(cull, guarded, guarded)
