"""Which heads of prompts are the same in every query."""

from graph_opt.analysis.constant_heads import Head, constant_heads
from graph_opt.graph import Marker
from graph_opt.text import parse

LONG = "Answer the question from the passages that follow, and from nothing else."


def test_what_stands_before_the_first_value_is_constant_in_bodies_too_and_named_once() -> None:
    graph = parse(f"""\
graph g {{
  %qs = input [type="list[str]"]
  %q = input [type="str"]
  %c0 = context [engine="m"]
  %c1 = prefill %c0 @user "{LONG}" @sp %q [engine="m"]
  %t, %c2 = decode %c1 @user "{LONG}" [engine="m"]
  %m = map %qs {{
    %x = input [type="str"]
    %d0 = context [engine="m"]
    %d1 = prefill %d0 @user "{LONG}" @sp %x [engine="m"]
    %e0 = context [engine="m"]
    %u, %e1 = decode %e0 @system "{LONG}" %x [engine="m", adapter="a"]
    return %u
  }}
  %f0 = context [engine="m"]
  %f1 = prefill %f0 @user "short" @sp %q [engine="m"]
  return %m
}}""")
    assert constant_heads(graph) == (
        Head("m", (Marker("user"), LONG)),
        Head("m", (Marker("system"), LONG), "a"),
    )


def test_heads_of_equal_parts_with_other_tools_are_others() -> None:
    graph = parse(f"""\
graph g {{
  %c0 = context [engine="m"]
  %c1 = prefill %c0 @user "{LONG}" [engine="m"]
  %c2 = prefill %c0 @user "{LONG}" [engine="m", tools=[{{"name": "f"}}]]
  %t, %c3 = decode %c1 [engine="m"]
  %u, %c4 = decode %c2 [engine="m"]
  return %t, %u
}}""")
    parts = (Marker("user"), LONG)
    assert constant_heads(graph) == (
        Head("m", parts),
        Head("m", parts, tools='[{"name": "f"}]'),
    )
