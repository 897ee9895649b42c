import pytest
from graph_text import assert_keeps, assert_rewrites

from graph_opt.passes.stream_stages import stream_stages


def test_what_has_effects_takes_lists_whole_for_who_gives_them_may_still_fail() -> None:
    assert_rewrites(
        stream_stages,
        """
        %docs = input [type="list[Doc]"]
        %m = map %docs {
          %x = input [type="Doc"]
          return %x
        }
        %v = embed %m [engine="e"]
        %i = ingest %m %v [engine="s"]
        %n = map %m [order="sequential"] {
          %x = input [type="Doc"]
          %y = call %x [fn="send"]
          return %y
        }
        return %i, %n
        """,
        """
        %docs = input [type="list[Doc]"]
        %m = map %docs {
          %x = input [type="Doc"]
          return %x
        }
        %v = embed ~%m [engine="e"]
        %i = ingest %m %v [engine="s"]
        %n = map %m [order="sequential"] {
          %x = input [type="Doc"]
          %y = call %x [fn="send"]
          return %y
        }
        return %i, %n
        """,
    )


def test_the_items_of_maps_flow_on_through_maps_flattens_and_engines() -> None:
    assert_rewrites(
        stream_stages,
        """
        %q = input [type="str"]
        %qs = input [type="list[str]"]
        %m = map %qs {
          %x = input [type="str"]
          %h = search null %x [engine="s"]
          return %h
        }
        %f = flatten %m
        %n = map %f %q {
          %d = input [type="Doc"]
          %q = input [type="str"]
          %t = format %q %d
          return %t
        }
        %v = embed %n [engine="e"]
        %r = rerank %q %n [engine="r"]
        return %v, %r
        """,
        """
        %q = input [type="str"]
        %qs = input [type="list[str]"]
        %m = map %qs {
          %x = input [type="str"]
          %h = search null %x [engine="s"]
          return %h
        }
        %f = flatten ~%m
        %n = map ~%f %q {
          %d = input [type="Doc"]
          %q = input [type="str"]
          %t = format %q %d
          return %t
        }
        %v = embed ~%n [engine="e"]
        %r = rerank %q ~%n [engine="r"]
        return %v, %r
        """,
    )


def test_what_is_whole_at_once_is_not_cut_for_nothing_nor_one_text_for_a_list() -> None:
    assert_keeps(
        stream_stages,
        """
        %q = input [type="str"]
        %docs = call %q [fn="load", pure=true]
        %v = embed %q [engine="e"]
        %h = search null %q %v [engine="s"]
        %r = rerank %q %docs [engine="r"]
        %i = ingest %docs null [engine="s"]
        %f = flatten %docs
        %m = map %f {
          %x = input [type="str"]
          return %x
        }
        return %h, %r, %m
        """,
    )


SENDING = """
    %qs = input [type="list"]
    %m = map %qs [order="sequential"] {{
      %x = input [type="str"]
      %y = call %x [fn="send"]
      return %y
    }}
    %f = flatten {m}
    %n = map %f{order} {{
      %x = input [type="str"]
      %y = call %x [fn="send"{pure}]
      return %y
    }}
    return %n
"""


@pytest.mark.parametrize("order", ["", ' [order="sequential"]'])
def test_effects_of_one_map_do_not_mix_with_those_of_the_map_before(order: str) -> None:
    before, after = (SENDING.format(m=m, pure="", order=order) for m in ("%m", "~%m"))
    assert_rewrites(stream_stages, before, after)


def test_a_map_without_effects_of_its_own_reads_one_with_effects_as_a_stream() -> None:
    before, after = (SENDING.format(m=m, pure=", pure=true", order="") for m in ("%m", "~%m"))
    assert_rewrites(stream_stages, before, after.replace("map %f", "map ~%f"))


def test_a_map_that_takes_its_items_in_turn_waits_for_all_of_them() -> None:
    order = ' [order="sequential"]'
    before, after = (SENDING.format(m=m, pure=", pure=true", order=order) for m in ("%m", "~%m"))
    assert_rewrites(stream_stages, before, after)


def test_who_waits_for_the_end_anyway_reads_whole() -> None:
    assert_keeps(
        stream_stages,
        """
        %qs = input [type="list"]
        %m = map %qs {
          %x = input [type="str"]
          return %x
        }
        %all = join %m
        %n = map %m %all {
          %x = input [type="str"]
          %y = input [type="str"]
          %t = format %x %y
          return %t
        }
        %f = flatten %m after %n
        return %f
        """,
    )


def test_lists_in_bodies_are_streamed_too() -> None:
    lines = """
        %lists = input [type="list"]
        %m = map %lists {{
          %docs = input [type="list"]
          %n = map %docs {{
            %x = input [type="str"]
            return %x
          }}
          %f = flatten {n}
          return %f
        }}
        return %m
        """
    assert_rewrites(stream_stages, lines.format(n="%n"), lines.format(n="~%n"))


def test_a_text_that_a_model_writes_is_embedded_whole_though_a_map_reads_its_vector() -> None:
    assert_keeps(
        stream_stages,
        """
        %c0 = context [engine="m"]
        %t, %c1 = decode %c0 [engine="m"]
        %v = embed %t [engine="e"]
        %m = map %v {
          %x = input [type="float"]
          return %x
        }
        return %m
        """,
    )
