"""Loops, in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest

Worlds = Callable[..., Any]

LOOP = """\
graph g {
  %n = input [type="int"]
  %end = loop %n [max=4] {
    %s = input [type="int"]
    %next = call %s [engine="tools", fn="step"]
    %again = call %next [engine="tools", fn="more"]
    return %next, %again
  }
  return %end
}"""


@pytest.mark.parametrize(("until", "end", "turns"), [(2, 2, 2), (99, 4, 4), (0, 1, 1)])
def test_a_loop_goes_on_until_it_says_stop_or_its_bound(
    world: Worlds, until: int, end: int, turns: int
) -> None:
    w = world()
    symbols = {"step": lambda s: s + 1, "more": lambda s: s < until}
    assert w.run_all(LOOP, inputs={"n": 0}, symbols=symbols) == [[end]]
    assert w.log.batches().count(".next") == turns
