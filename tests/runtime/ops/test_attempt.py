"""`attempt`, and maps that take the failures of their items, in virtual time."""

from collections.abc import Callable
from typing import Any

import pytest

from runtime.errors import NodeFailed, failure_of

Worlds = Callable[..., Any]
SPEEDS = {"tools": {"latency_s": 1.0}, "python": {"latency_s": 0.1}}

ATTEMPT = """\
graph g {
  %x = input [type="str"]
  %a = attempt null %x {
    %none = input [type="Exception"]
    %q = input [type="str"]
    %slow = call %q [engine="tools", fn="first"]
    %fast = call %q [engine="python", fn="second", pure=true]
    %both = pack %slow %fast
    return %both
  } else {
    %error = input [type="Exception"]
    %q = input [type="str"]
    %text = format "no: " %error " for " %q
    return %text
  }
  %after = call %a [engine="python", fn="after"] after %a
  return %after
}"""


def fail(text: str) -> str:
    raise ValueError(f"bad {text}")


def run(world: Any, text: str, inputs: dict[str, Any], **symbols: Callable[..., Any]) -> Any:
    (result,) = world.run_all(text, inputs=inputs, symbols=symbols)
    return result


def test_what_is_tried_is_the_value_if_nothing_in_it_fails(world: Worlds) -> None:
    w = world(**SPEEDS)
    assert run(w, ATTEMPT, {"x": "x"}, first=str, second=str, after=list) == [["x", "x"]]


def test_a_failure_makes_the_other_body_run_with_the_error_and_ends_nothing_else(
    world: Worlds,
) -> None:
    done: list[str] = []
    w = world(**SPEEDS)
    result = run(w, ATTEMPT, {"x": "x"}, first=done.append, second=fail, after=str)
    assert result == ["no: bad x for x"]
    assert done == ["x"]  # it stands before the failure
    assert w.log.events[-1].t == pytest.approx(1.1)


def test_a_failure_of_the_other_body_is_a_failure_of_the_query(world: Worlds) -> None:
    text = ATTEMPT.replace('format "no: " %error " for " %q', 'call %q [engine="tools", fn="last"]')
    error = run(world(**SPEEDS), text, {"x": "x"}, first=str, second=fail, last=fail, after=str)
    assert isinstance(error, NodeFailed)
    assert error.node == "a{otherwise}.text"


def test_what_fails_outside_is_not_taken(world: Worlds) -> None:
    text = ATTEMPT.replace('%x = input [type="str"]\n', "", 1).replace(
        "%a = attempt null %x", '%x = call "x" [engine="tools", fn="last"]\n  %a = attempt null %x'
    )
    error = run(world(**SPEEDS), text, {}, first=str, second=str, last=fail, after=str)
    assert isinstance(error, NodeFailed)
    assert error.node == "x"


def test_attempts_nest_and_the_inner_one_takes_the_failure(world: Worlds) -> None:
    text = """\
    graph g {
      %xs = input [type="list[str]"]
      %a = attempt null %xs {
        %none = input [type="Exception"]
        %items = input [type="list[str]"]
        %m = map %items {
          %x = input [type="str"]
          %b = attempt null %x {
            %none = input [type="Exception"]
            %y = input [type="str"]
            %z = call %y [engine="python", fn="work", pure=true]
            return %z
          } else {
            %error = input [type="Exception"]
            %y = input [type="str"]
            %w = call %y [engine="tools", fn="mend", pure=true]
            return %w
          }
          return %b
        }
        return %m
      } else {
        %error = input [type="Exception"]
        %items = input [type="list[str]"]
        %text = format "all: " %error
        return %text
      }
      return %a
    }"""

    def work(item: str) -> str:
        return fail(item) if item in "bd" else item

    w = world(**SPEEDS)
    inputs = {"xs": list("abcd")}
    assert run(w, text, inputs, work=work, mend=str.upper) == [["a", "B", "c", "D"]]
    w = world(**SPEEDS)
    assert run(w, text, inputs, work=work, mend=fail) == ["all: bad b"]


def test_contexts_of_what_failed_are_freed_and_its_requests_cancelled(world: Worlds) -> None:
    text = """\
    graph g {
      %c0 = context [engine="llm"]
      %head = prefill %c0 @user "Say" [engine="llm"]
      %a = attempt null %head {
        %none = input [type="Exception"]
        %c1 = input [type="context"]
        %bad = call "x" [engine="python", fn="work", pure=true]
        %c2 = prefill %c1 @assistant [engine="llm"]
        %text, %c3 = decode %c2 [engine="llm"]
        %all = pack %bad %text
        return %all
      } else {
        %error = input [type="Exception"]
        %c1 = input [type="context"]
        %c2 = prefill %c1 @assistant [engine="llm"]
        %text, %c3 = decode %c2 [engine="llm", max_tokens=1]
        return %text
      }
      return %a
    }"""
    w = world(**SPEEDS, llm={"token_s": 1.0, "replies": {"Say": "one two three"}})
    assert run(w, text, {}, work=fail) == ["one "]
    assert w.log.events[-1].t == pytest.approx(1.1)
    assert w.num_live_contexts == 0


ITEMS = """\
graph g {
  %xs = input [type="list[str]"]
  %m = map %xs [on_error="keep"] {
    %x = input [type="str"]
    %a = call %x [engine="python", fn="fast", pure=true]
    %b = call %a [engine="tools", fn="slow", pure=true]
    return %b
  }
  return %m
}"""


def failing_for(*items: str) -> Callable[[str], str]:
    return lambda item: fail(item) if item in items else item.upper()


def test_a_map_may_keep_the_exceptions_of_its_items_in_their_places(world: Worlds) -> None:
    symbols = {"fast": failing_for("b"), "slow": failing_for("D")}
    ((found),) = run(world(**SPEEDS), ITEMS, {"xs": list("abcd")}, **symbols)
    a, b, c, d = found
    assert (a, c) == ("A", "C")
    assert isinstance(b, ValueError)
    assert b.__notes__ == ["raised by %m[1].a"]
    failure = failure_of(d)
    assert failure is not None
    assert failure.node == "m[3].b"


def test_a_map_may_leave_out_the_items_that_fail_and_gives_the_others_as_they_come(
    world: Worlds,
) -> None:
    text = ITEMS.replace("keep", "skip").replace("return %m\n}", "%f = flatten ~%m\n  return %f\n}")
    symbols = {"fast": failing_for("b", "d"), "slow": list}
    assert run(world(**SPEEDS), text, {"xs": list("abcd")}, **symbols) == [["A", "C"]]
    w = world(**SPEEDS)
    assert run(w, text, {"xs": ["b"]}, **symbols) == [[]]
    assert w.log.events[-1].t == pytest.approx(0.1)


def test_a_sequential_map_goes_on_behind_an_item_that_it_leaves_out(world: Worlds) -> None:
    text = ITEMS.replace('"keep"', '"skip", order="sequential"').replace(", pure=true", "")
    done: list[str] = []
    symbols = {"fast": failing_for("b"), "slow": done.append}
    assert run(world(**SPEEDS), text, {"xs": list("abc")}, **symbols) == [[None, None]]
    assert done == ["A", "C"]
