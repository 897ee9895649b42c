"""A map for whose items a model writes opens as many as the model has slots."""

from collections.abc import Callable
from typing import Any

import pytest

Worlds = Callable[..., Any]

ASK_TWICE = """\
graph g {
  %xs = input [type="list[str]"]
  %m = map %xs {
    %x = input [type="str"]
    %c0 = context [engine="llm"]
    %t, %c1 = decode %c0 @user %x @assistant [engine="llm"]
    %d, %c2 = decode %c1 @user "Again" @assistant [engine="llm"]
    return %d
  }
  return %m
}"""


@pytest.mark.parametrize("num_slots", [1, 3])
def test_an_item_ends_before_the_next_begins_beyond_the_slots(
    world: Worlds, num_slots: int
) -> None:
    options = {"num_slots": num_slots, "token_s": 1.0, "decode_parts": True, "max_batch_items": 1}
    w = world(llm={**options, "replies": {"": "word"}})
    (result,) = w.run_all(ASK_TWICE, inputs={"xs": [str(i) for i in range(6)]})
    assert result == [["word"] * 6]
    starts = [(e.t, e.node) for e in w.log.events if e.kind == "start"]
    num_open = 0
    for _, node in starts:
        num_open += 1 if node.endswith("t") else -1
        assert num_open <= num_slots
    assert max(e.t for e in w.log.events) == 12 / num_slots


def test_a_map_of_tools_opens_what_its_engine_takes(world: Worlds) -> None:
    graph = """\
    graph g {
      %xs = input [type="list[str]"]
      %m = map %xs {
        %x = input [type="str"]
        %y = call %x [engine="tools", fn="f"]
        return %y
      }
      return %m
    }"""
    w = world(tools={"num_slots": 1, "max_batch_items": 100, "latency_s": 1.0})
    symbols = {"f": lambda x: x}
    (result,) = w.run_all(graph, inputs={"xs": list("abcdef")}, symbols=symbols)
    assert result == [list("abcdef")]
    assert max(e.t for e in w.log.events) == 1.0
