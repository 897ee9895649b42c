"""Conditions, in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest

Worlds = Callable[..., Any]

COND = """\
graph g {
  %x = input [type="str"]
  %flag = call %x [engine="tools", fn="judge"]
  %y = cond %flag %x {
    %x = input [type="str"]
    %a = call %x [engine="tools", fn="yes"]
    return %a
  } else {
    %x = input [type="str"]
    %b = call %x [engine="tools", fn="no"]
    return %b
  }
  return %y
}"""


@pytest.mark.parametrize(
    ("flag", "answer", "ran"), [(1, "YES x", "y{then}.a"), ("", "NO x", "y{else}.b")]
)
def test_a_condition_runs_the_chosen_branch_only(
    world: Worlds, flag: object, answer: str, ran: str
) -> None:
    w = world()
    symbols = {"judge": lambda x: flag, "yes": lambda x: f"YES {x}", "no": lambda x: f"NO {x}"}
    assert w.run_all(COND, inputs={"x": "x"}, symbols=symbols) == [[answer]]
    assert [line.split("q1.")[1] for line in w.log.batches().splitlines()] == ["flag", ran]
