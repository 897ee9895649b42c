"""What a server with a prefix cache is expected to hold of the prompts of a graph."""

import pytest

from graph_opt.graph import Graph, Node
from graph_opt.paths import walk
from graph_opt.text import parse
from runtime.cost.curves import Curve, Surface
from runtime.cost.graph_cost import GraphCost
from runtime.cost.graph_sizes import sizes_of
from runtime.cost.held_heads import held_heads
from runtime.cost.latency import EngineLatency, LatencyModel

SHARED = parse("""
graph g {
  %doc = input [type="str"]
  %other = input [type="str"]
  %a0 = context [engine="m"]
  %a1 = prefill %a0 "Read: this" %doc [engine="m"]
  %a, %a2 = decode %a1 "clear?" [engine="m", max_tokens=8]
  %b0 = context [engine="m"]
  %b1 = prefill %b0 "Read: this" [engine="m"]
  %b, %b2 = decode %b1 %doc "short?" [engine="m", max_tokens=8]
  %c, %c2 = decode %b0 "Read: this" %other [engine="m", max_tokens=8]
  %d = generate "Read: this" %doc "clear?" [engine="m"]
  %e, %e2 = decode %a2 "sure?" [engine="m", max_tokens=8]
  %n0 = context [engine="n"]
  %n1, %n2 = decode %n0 "Read: this" [engine="n"]
  return %a
}
""")
READ = len("Read: this") / 4


def held(graph: Graph, *engines: str) -> dict[str, float]:
    return held_heads(graph, sizes_of(graph), engines)


def test_a_prompt_finds_what_earlier_ones_began_with_however_they_were_cut() -> None:
    found = held(SHARED, "m")
    assert found["a"] == 0
    assert found["b"] == READ + 16  # the document counts sixteen
    assert found["c"] == READ
    assert found["d"] == READ + 16 + len("clear?") / 4


def test_what_the_model_wrote_is_held_with_its_prompt() -> None:
    assert held(SHARED, "m")["e"] == 0  # of the parts; the context says it itself
    cost = GraphCost.of(SHARED, {}, {"m"}, {"m"})
    (prompt, _) = cost.loads(SHARED.node("e"))
    assert (prompt.size, prompt.length) == (len("sure?") / 4, READ + 16 + len("clear?") / 4 + 8)


def test_engines_share_nothing_and_those_without_a_cache_hold_nothing() -> None:
    assert held(SHARED, "m", "n")["n1"] == 0
    assert held(SHARED) == {}


MAPPED = parse("""
graph g {
  %doc = input [type="str"]
  %c0 = context [engine="m"]
  %m = map ["a", "b", "c", "d"] %doc %c0 {
    %x = input [type="str"]
    %d = input [type="str"]
    %c = input [engine="m", type="context"]
    %y = format %x
    %t, %u = decode %c "Read: this" %d %y [engine="m"]
    return %t
  }
  %l = loop %doc %c0 [max=4] {
    %s = input [type="str"]
    %c = input [engine="m", type="context"]
    %v, %w = decode %c "Read: this" %s [engine="m"]
    return %v, %v
  }
  return %m
}
""")


def test_of_the_items_of_a_map_the_first_pays_for_all() -> None:
    assert held(MAPPED, "m")["t"] == pytest.approx((READ + 16) * 3 / 4)
    assert held(MAPPED, "m")["v"] == READ


def node(graph: Graph, name: str) -> Node:
    return next(node for _, node, _ in walk(graph) if node.name == name)


def test_a_prompt_costs_what_the_server_does_not_hold() -> None:
    line = {"m": EngineLatency(LatencyModel({"prefill": Surface.flat(Curve.line(0.0, 1.0))}))}
    for caching, tokens in [(set[str](), READ + 16), ({"m"}, (READ + 16) / 4)]:
        cost = GraphCost.of(MAPPED, line, {"m"}, caching)
        prompt, _ = cost.loads(node(MAPPED, "t"))
        assert prompt.size == pytest.approx(tokens + 1 / 4)  # the item is a letter
