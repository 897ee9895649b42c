from graph_text import graph, wrap

from graph_opt.analysis.order import Order
from graph_opt.analysis.streaming import Makers, open_streams
from graph_opt.graph import Node
from graph_opt.ops import OPS

LINES = """
    %qs = input [type="list"]
    %m = map {qs} {{
      %x = input [type="str"]
      %h = search null %x [engine="s"]
      return %h
    }}
    %v = embed {m} [engine="e"]
    %i = ingest %v null [engine="s"]
    %late = format %i
    return %late
"""


def _everything(node: Node, _: Makers) -> list[int]:
    return [index for index in OPS[node.op].elementwise if index < len(node.args)]


def test_an_effect_reads_whole_what_a_stream_far_behind_it_must_not_see() -> None:
    before = graph(LINES.format(qs="%qs", m="%m"))
    assert str(open_streams(before, _everything)) == wrap(LINES.format(qs="~%qs", m="~%m"))


def test_nothing_wished_nothing_done() -> None:
    before = graph(LINES.format(qs="%qs", m="%m"))
    assert open_streams(before, lambda *_: ()) is before


def test_a_reader_of_a_stream_starts_beside_its_maker_and_ends_after_it() -> None:
    streamed = graph(LINES.format(qs="~%qs", m="~%m"))
    order = Order(streamed)
    for node in streamed.nodes:
        order.add(node, node.after)
    assert not order.at_start["v"] & order.bit["m"]
    assert order.at_start["v"] & order.bit["qs"]
    assert order.at_end["v"] & order.bit["m"]
    assert order.at_start["i"] & order.bit["m"]


def test_two_readers_that_hold_up_each_others_makers_do_not_both_read_streams() -> None:
    lines = """
        %qs = input [type="list"]
        %a = map %qs {{
          %x = input [type="str"]
          return %x
        }}
        %b = map %qs {{
          %x = input [type="str"]
          return %x
        }}
        %all = join %b
        %v = embed {a} [engine="e"] after %all
        %each = join %a
        %w = embed %b [engine="e"] after %each
        return %v, %w
    """
    before, after = (graph(lines.format(a=a)) for a in ("%a", "~%a"))

    def wish(node: Node, _: Makers) -> list[int]:
        return [0] if node.op == "embed" else []

    assert open_streams(before, wish) == after
