"""`within` in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest

from runtime.errors import NodeFailed, QueryTimeout

Worlds = Callable[..., Any]
SPEEDS = {"tools": {"latency_s": 1.0}, "python": {"latency_s": 0.1}}

LIMITED = """\
graph g {
  %x = input [type="str"]
  %w = within null %x [app="inner", timeout_s=0.5] {
    %q = input [type="str"]
    %a = call %q [engine="tools", fn="work", pure=true]
    return %a
  }
  %after = call %w [engine="python", fn="after", pure=true]
  return %after
}"""


def run(world: Any, text: str, **symbols: Callable[..., Any]) -> Any:
    (result,) = world.run_all(text, inputs={"x": "x"}, symbols=symbols)
    return result


def test_what_takes_too_long_fails_with_the_name_of_the_app(world: Worlds) -> None:
    w = world(**SPEEDS)
    error = run(w, LIMITED, work=str, after=str)
    assert isinstance(error, QueryTimeout)
    assert str(error) == "app inner() did not finish within 0.5 s"
    assert w.log.events[-1].t == pytest.approx(0.5)


def test_what_ends_in_time_is_the_value_and_the_limit_is_gone(world: Worlds) -> None:
    w = world(**{**SPEEDS, "tools": {"latency_s": 0.4}})
    assert run(w, LIMITED, work=str.upper, after=lambda x: x + "!") == ["X!"]


def test_a_failure_inside_counts_as_it_is(world: Worlds) -> None:
    def fail(text: str) -> str:
        raise ValueError(text)

    error = run(world(tools={"latency_s": 0.1}), LIMITED, work=fail, after=str)
    assert isinstance(error, NodeFailed)
    assert error.node == "w{in}.a"


def test_an_attempt_takes_a_limit_that_was_exceeded(world: Worlds) -> None:
    inner = LIMITED.split("\n", 2)[2].split("  %after")[0].replace("%x", "%y")
    text = f"""\
graph g {{
  %x = input [type="str"]
  %t = attempt null %x {{
    %none = input [type="Exception"]
    %y = input [type="str"]
{inner}
    return %w
  }} else {{
    %error = input [type="Exception"]
    %y = input [type="str"]
    %text = format "late: " %error
    return %text
  }}
  return %t
}}"""
    assert run(world(**SPEEDS), text, work=str) == ["late: app inner() did not finish within 0.5 s"]
