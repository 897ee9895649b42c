from graph_text import assert_keeps, assert_rewrites

from graph_opt.passes.deduplicate import deduplicate


def test_calls_that_begin_alike_share_their_context() -> None:
    assert_rewrites(
        deduplicate,
        """
        %x = input [type="str"]
        %y = input [type="str"]
        %a0 = context [engine="m"]
        %a1 = prefill %a0 @system "Be brief." [engine="m"]
        %a2 = prefill %a1 @user %x [engine="m"]
        %b0 = context [engine="m"]
        %b1 = prefill %b0 @system "Be brief." [engine="m"]
        %b2 = prefill %b1 @user %y [engine="m"]
        %s, %a3 = decode %a2 [engine="m"]
        %t, %b3 = decode %b2 [engine="m"]
        return %s, %t
        """,
        """
        %x = input [type="str"]
        %y = input [type="str"]
        %a0 = context [engine="m"]
        %a1 = prefill %a0 @system "Be brief." [engine="m"]
        %a2 = prefill %a1 @user %x [engine="m"]
        %b2 = prefill %a1 @user %y [engine="m"]
        %s, %a3 = decode %a2 [engine="m"]
        %t, %b3 = decode %b2 [engine="m"]
        return %s, %t
        """,
    )


def test_a_whole_chain_collapses_with_all_its_outputs() -> None:
    assert_rewrites(
        deduplicate,
        """
        %c = context [engine="m"]
        %a1 = prefill %c "Hi" [engine="m"]
        %s, %a2 = decode %a1 [engine="m"]
        %b1 = prefill %c "Hi" [engine="m"]
        %t, %b2 = decode %b1 [engine="m"]
        %u, %b3 = decode %b2 [engine="m"]
        return %s, %t, %u
        """,
        """
        %c = context [engine="m"]
        %a1 = prefill %c "Hi" [engine="m"]
        %s, %a2 = decode %a1 [engine="m"]
        %u, %b3 = decode %a2 [engine="m"]
        return %s, %s, %u
        """,
    )


def test_sampled_decodes_stay_apart() -> None:
    assert_keeps(
        deduplicate,
        """
        %c = context [engine="m"]
        %s, %a = decode %c [engine="m", temperature=0.7]
        %t, %b = decode %c [engine="m", temperature=0.7]
        return %s, %t
        """,
    )


def test_sampled_decodes_with_equal_seeds_merge() -> None:
    assert_rewrites(
        deduplicate,
        """
        %c = context [engine="m"]
        %s, %a = decode %c [engine="m", seed=1, temperature=0.7]
        %t, %b = decode %c [engine="m", seed=1, temperature=0.7]
        %u, %d = decode %c [engine="m", seed=2, temperature=0.7]
        return %s, %t, %u
        """,
        """
        %c = context [engine="m"]
        %s, %a = decode %c [engine="m", seed=1, temperature=0.7]
        %u, %d = decode %c [engine="m", seed=2, temperature=0.7]
        return %s, %s, %u
        """,
    )


def test_effects_inputs_and_unlike_literals_stay_apart() -> None:
    assert_keeps(
        deduplicate,
        """
        %p = input [type="str"]
        %q = input [type="str"]
        %a = call %p [fn="send"]
        %b = call %p [fn="send"]
        %one = const [value=1]
        %yes = const [value=true]
        %real = const [value=1.0]
        return %a, %b, %q, %one, %yes, %real
        """,
    )


def test_reads_of_a_store_merge_only_when_nothing_was_written_between() -> None:
    assert_rewrites(
        deduplicate,
        """
        %q = input [type="str"]
        %i = ingest %q null [engine="s"]
        %a = search null %q [engine="s"] after %i
        %b = search null %q [engine="s"] after %i
        %j = ingest %q null [engine="s"] after %a, %b
        %c = search null %q [engine="s"] after %j
        return %a, %b, %c
        """,
        """
        %q = input [type="str"]
        %i = ingest %q null [engine="s"]
        %a = search null %q [engine="s"] after %i
        %j = ingest %q null [engine="s"] after %a
        %c = search null %q [engine="s"] after %j
        return %a, %a, %c
        """,
    )


def test_reads_of_the_world_stay_apart_alone_and_in_bodies_for_it_changes_by_itself() -> None:
    assert_keeps(
        deduplicate,
        """
        %qs = input [type="list"]
        %a = call [fn="clock", pure=true, reads=true]
        %b = call [fn="clock", pure=true, reads=true]
        %m = map %qs {
          %x = input [type="str"]
          %y = call [fn="clock", pure=true, reads=true]
          return %y
        }
        %n = map %qs {
          %x = input [type="str"]
          %y = call [fn="clock", pure=true, reads=true]
          return %y
        }
        return %a, %b, %m, %n
        """,
    )


def test_readers_of_a_merged_value_keep_the_order_it_gave_them() -> None:
    assert_rewrites(
        deduplicate,
        """
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %a = call %q [fn="f"]
        %w = embed %q [engine="e"] after %a
        %b = call %w [fn="g"]
        return %v, %b
        """,
        """
        %q = input [type="str"]
        %v = embed %q [engine="e"]
        %a = call %q [fn="f"]
        %b = call %v [fn="g"] after %a
        return %v, %b
        """,
    )


def test_maps_with_equal_bodies_merge_whatever_their_values_are_called() -> None:
    assert_rewrites(
        deduplicate,
        """
        %qs = input [type="list"]
        %a = map %qs {
          %x = input [type="str"]
          %v = embed %x [engine="e"]
          return %v
        }
        %b = map %qs {
          %y = input [type="str"]
          %u = embed %y [engine="e"]
          %w = embed %y [engine="e"]
          return %w
        }
        %c = map %qs {
          %y = input [type="str"]
          %u = embed %y [engine="f"]
          return %u
        }
        return %a, %b, %c
        """,
        """
        %qs = input [type="list"]
        %a = map %qs {
          %x = input [type="str"]
          %v = embed %x [engine="e"]
          return %v
        }
        %c = map %qs {
          %y = input [type="str"]
          %u = embed %y [engine="f"]
          return %u
        }
        return %a, %a, %c
        """,
    )


def test_one_read_whole_and_one_read_as_a_stream_stay_apart() -> None:
    assert_keeps(
        deduplicate,
        """
        %q = input [type="list"]
        %a = embed %q [engine="e"]
        %b = embed ~%q [engine="e"]
        return %a, %b
        """,
    )


def test_branches_are_compared_one_by_one() -> None:
    assert_rewrites(
        deduplicate,
        """
        %q = input [type="str"]
        %a = cond %q %q {
          %x = input [type="str"]
          return %x
        } else {
          %x = input [type="str"]
          %y = format "no" %x
          return %y
        }
        %b = cond %q %q {
          %u = input [type="str"]
          return %u
        } else {
          %v = input [type="str"]
          %w = format "no" %v
          return %w
        }
        %c = cond %q %q {
          %x = input [type="str"]
          %y = format "no" %x
          return %y
        } else {
          %x = input [type="str"]
          return %x
        }
        return %a, %b, %c
        """,
        """
        %q = input [type="str"]
        %a = cond %q %q {
          %x = input [type="str"]
          return %x
        } else {
          %x = input [type="str"]
          %y = format "no" %x
          return %y
        }
        %c = cond %q %q {
          %x = input [type="str"]
          %y = format "no" %x
          return %y
        } else {
          %x = input [type="str"]
          return %x
        }
        return %a, %a, %c
        """,
    )


def test_bodies_that_return_other_values_stay_apart() -> None:
    assert_keeps(
        deduplicate,
        """
        %q = input [type="str"]
        %r = input [type="str"]
        %a = cond %q %q %r {
          %x = input [type="str"]
          %y = input [type="str"]
          return %x
        } else {
          %x = input [type="str"]
          %y = input [type="str"]
          return %y
        }
        %b = cond %q %q %r {
          %x = input [type="str"]
          %y = input [type="str"]
          return %y
        } else {
          %x = input [type="str"]
          %y = input [type="str"]
          return %x
        }
        return %a, %b
        """,
    )


def test_what_is_wanted_for_two_objectives_is_done_once_for_latency() -> None:
    assert_rewrites(
        deduplicate,
        """
        %q = input [type="str"]
        %a = embed %q [engine="e", objective="throughput"]
        %b = embed %q [engine="e", objective="latency"]
        %c = rerank %q %q [engine="r", objective="throughput"]
        %d = rerank %q %q [engine="r"]
        %all = pack %a %b %c %d
        return %all
        """,
        """
        %q = input [type="str"]
        %a = embed %q [engine="e", objective="latency"]
        %c = rerank %q %q [engine="r"]
        %all = pack %a %a %c %c
        return %all
        """,
    )
