"""`first` in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest

from runtime.errors import NodeFailed

Worlds = Callable[..., Any]
SPEEDS = {"tools": {"latency_s": 1.0}, "python": {"latency_s": 0.1}}

RACE = """\
graph g {
  %x = input [type="str"]
  %f = first null %x {
    %q = input [type="str"]
    %a = call %q [engine="tools", fn="slow", pure=true]
    return %a
  } else {
    %q = input [type="str"]
    %b = call %q [engine="python", fn="fast", pure=true]
    return %b
  }
  %after = embed %f [engine="embedder"]
  return %f
}"""


def fail(text: str) -> str:
    raise ValueError(f"bad {text}")


def run(world: Any, **symbols: Callable[..., Any]) -> Any:
    (result,) = world.run_all(RACE, inputs={"x": "x"}, symbols=symbols)
    return result


def test_the_first_success_is_the_value_and_the_others_are_stopped(world: Worlds) -> None:
    w = world(**SPEEDS)
    assert run(w, slow=str, fast=str.upper) == ["X"]
    assert w.log.events[-1].t == pytest.approx(0.1)
    ends = [event.node for event in w.log.events if event.kind == "end"]
    assert ends == ["f{1}.b", "after"]


def test_one_that_fails_leaves_the_race_to_the_others(world: Worlds) -> None:
    w = world(**SPEEDS)
    assert run(w, slow=str.upper, fast=fail) == ["X"]
    assert w.log.events[-1].t == pytest.approx(1.0)


def test_when_all_fail_the_error_is_that_of_the_first_in_the_program(world: Worlds) -> None:
    error = run(world(**SPEEDS), slow=fail, fast=fail)
    assert isinstance(error, NodeFailed)
    assert error.node == "f{0}.a"
