"""Lists one after another: in order, whatever comes first, and as soon as it is their turn."""

from collections.abc import Callable
from typing import Any

from runtime.item_streams import Item, ItemStream, whole
from runtime.ops.concat import _Turns

Worlds = Callable[..., Any]

MAP = """\
  %{name} = map %{xs} {{
    %x = input [type="str"]
    %y = call %x [engine="{engine}", fn="f", pure=true]
    return %y
  }}"""
TWO = f"""\
graph g {{
  %xs = input [type="list[str]"]
{MAP.format(name="a", xs="xs", engine="tools")}
{MAP.format(name="b", xs="xs", engine="python")}
  %c = concat ~%a %xs ~%b
  %m = map ~%c {{
    %z = input [type="str"]
    %v = embed %z [engine="embedder"]
    return %z
  }}
  return %m
}}"""


def test_all_lists_end_up_in_order_with_those_that_came_later_before(world: Worlds) -> None:
    w = world(tools={"latency_s": 1.0}, python={"latency_s": 0.1})
    run = {"inputs": {"xs": ["p", "q"]}, "symbols": {"f": str.upper}}
    assert w.run_all(TWO, **run) == [[["P", "Q", "p", "q", "P", "Q"]]]
    assert w.run_all(TWO.replace("~", ""), **run) == [[["P", "Q", "p", "q", "P", "Q"]]]


def test_lists_of_nothing_give_nothing(world: Worlds) -> None:
    assert world().run_all(TWO, inputs={"xs": []}, symbols={"f": str.upper}) == [[[]]]


def test_items_go_on_as_soon_as_it_is_their_lists_turn_with_places_counted_on() -> None:
    given: list[Item] = []
    ends: list[bool] = []
    first, second = ItemStream(), ItemStream()
    turns = _Turns(given.extend, lambda: ends.append(True), lambda work: work())
    for source in (whole(["a", "b"]), first, second):
        turns.add(source)
    turns.go_on()
    assert given == [((0,), "a"), ((1,), "b")]
    second.put((0,), "z")
    assert second.backlog == 0, "a list whose turn has not come must not hold up its maker"
    first.put((1, 4), "d")
    assert given[2:] == [((3, 4), "d")]
    first.put((0, 0), "c")
    first.close()
    assert given[3:] == [((2, 0), "c"), ((4,), "z")]
    assert not ends
    second.close()
    assert ends == [True]
