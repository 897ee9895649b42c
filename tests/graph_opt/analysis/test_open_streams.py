from collections.abc import Sequence
from typing import Any

from graph_text import graph, wrap

from graph_opt.analysis.open_streams import Makers, _Opening, open_streams
from graph_opt.analysis.order import Order
from graph_opt.graph import Node, Ref
from graph_opt.ops import elementwise

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


def _everything(node: Node, _: Makers) -> Sequence[int]:
    return elementwise(node)


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


class _Counting(dict[Any, Any]):
    """Counts how often what an event waits for is looked at."""

    num_looks = 0

    def __getitem__(self, key: Any) -> Any:
        self.num_looks += 1
        return super().__getitem__(key)


def _work_for_a_chain_of(length: int) -> tuple[int, int]:
    """Edges kept and looks taken to open a chain of maps that all capture a value made slowly."""
    calls = [f'%s{i} = call {f"%s{i - 1}" if i else 1} [fn="f", pure=true]' for i in range(length)]
    maps = [
        f"""
        %m{i} = map %{f"m{i - 1}" if i else "qs"} %s{length - 1} {{
          %x = input [type="str"]
          %s = input [type="str"]
          return %x
        }}"""
        for i in range(length)
    ]
    lines = ['%qs = input [type="list"]', *calls, *maps, f"return %m{length - 1}"]
    opening = _Opening()
    opening.waits = waits = _Counting()
    nodes = graph("\n".join(lines)).nodes
    opened = [opening.add(node, _everything(node, opening.maker)) for node in nodes]
    streams = [Ref(f"m{i}", stream=True) for i in range(length - 1)]
    assert [node.args[0] for node in opened[1 - length :]] == streams
    return sum(map(len, waits.values())), waits.num_looks


def test_a_long_chain_of_streams_costs_no_more_for_each_node_than_a_short_one() -> None:
    edges, looks = _work_for_a_chain_of(50)
    more_edges, more_looks = _work_for_a_chain_of(200)
    assert more_edges <= 4 * edges + 10
    assert more_looks <= 4 * looks + 10
