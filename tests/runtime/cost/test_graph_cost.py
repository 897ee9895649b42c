import pytest

from graph_opt.text import parse
from runtime.cost.curves import Curve, Row, Surface
from runtime.cost.graph_cost import GraphCost
from runtime.cost.latency import EngineLatency, LatencyModel

GRAPH = parse("""
graph g {
  %docs = input [type="list[Doc]"]
  %x = input [type="str"]
  %v = embed %docs [engine="e"]
  %index = ingest %docs %v [engine="s"]
  %q = embed %x [engine="e"]
  %hits = search %index %x %q [engine="s", k=4]
  %best = rerank %x %hits [engine="r"]
  %c0 = context [engine="m"]
  %c1 = prefill %c0 @user "sixteen letters!" %x [engine="m"]
  %t, %c2 = decode %c1 [engine="m", max_tokens=10]
  %u = call %t [engine="python", fn="shout"]
  return %u
}
""")


def line(op: str, each_s: float) -> EngineLatency:
    return EngineLatency(LatencyModel({op: Surface.flat(Curve.line(0.0, each_s))}))


def seconds(name: str, latency: EngineLatency) -> float:
    node = GRAPH.node(name)
    cost = GraphCost.of(GRAPH, {str(node.attrs.get("engine")): latency})
    return cost.seconds(node)


@pytest.mark.parametrize(
    ("name", "op", "count"),
    [
        ("v", "embed", 8),  # the list has eight documents, for want of anything better
        ("q", "embed", 1),  # one text
        ("index", "ingest", 8),
        ("hits", "search", 1),
        ("best", "rerank", 4),  # what the search gives
        ("c1", "prefill", 4 + 4 + 16),  # a turn, the text, and a value
        ("u", "call:shout", 1),
    ],
)
def test_a_primitive_costs_what_its_engine_takes_for_so_many(
    name: str, op: str, count: int
) -> None:
    assert seconds(name, line(op, 0.5)) == pytest.approx(0.5 * count)


def test_a_decode_costs_a_step_for_each_token_behind_its_context() -> None:
    rows = (Row(0, Curve.line(0.0, 1.0)), Row(29, Curve.line(0.0, 3.0)), Row(99, Curve.line(0, 9)))
    latency = EngineLatency(LatencyModel({"decode": Surface(rows)}))

    assert seconds("t", latency) == pytest.approx(10 * 3.0)  # 24 tokens before, 5 on average more


def test_a_correction_counts() -> None:
    latency = line("embed", 0.5)
    for _ in range(100):
        load = GraphCost.of(GRAPH, {}).loads(GRAPH.node("q"))[0]
        latency.observe([load], 1.0)

    assert seconds("q", latency) == pytest.approx(1.0, rel=0.01)


def test_what_no_engine_runs_costs_nothing() -> None:
    assert seconds("c0", line("prefill", 1.0)) == 0.0


def test_an_engine_without_a_profile_costs_its_default() -> None:
    assert GraphCost.of(GRAPH, {}).seconds(GRAPH.node("v")) > 0


def test_a_node_that_a_pass_has_made_is_estimated_too() -> None:
    made = parse("""
    graph g {
      %other = input [type="str"]
      %c = context [engine="m"]
      %new = prefill %c "sixteen letters!" %other [engine="m"]
      return %new
    }
    """)
    cost = GraphCost.of(GRAPH, {"m": line("prefill", 1.0)})

    assert cost.seconds(made.node("new")) == pytest.approx(20.0)


WARMED = parse("""
graph g {
  %q = input [type="str"]
  %c0 = context [engine="m"]
  %c1 = prefill %c0 "sixteen letters!" [engine="m"]
  %c2 = prefill %c0 "sixteen letters!" [ahead=true, engine="m"]
  %t1, %d1 = decode %c1 %q [engine="m", max_tokens=10]
  %t2, %d2 = decode %c2 %q [engine="m", max_tokens=10]
  %t3, %d3 = decode %d1 %q [engine="m", max_tokens=10]
  %g = generate "sixteen letters!" %q [engine="m", max_tokens=10]
  %m = map ["a", "b"] %c2 {
    %x = input [type="str"]
    %c = input [engine="m", type="context"]
    %u, %e = decode %c %x [engine="m", max_tokens=10]
    return %u
  }
  return %t1
}
""")


def test_where_contexts_stay_with_the_client_a_decode_pays_for_all_the_server_does_not_hold() -> (
    None
):
    cost = GraphCost.of(WARMED, {"m": line("prefill", 1.0)}, {"m"})

    def prefilled(name: str) -> tuple[float, float]:
        body = WARMED.node("m").body
        node = WARMED.node(name) if name in WARMED else body.node(name) if body else None
        assert node is not None
        found = [load for load in cost.loads(node) if load.op == "prefill"]
        return (found[0].size, found[0].length) if found else (0.0, 0.0)

    assert prefilled("c1") == (0.0, 0.0)
    assert prefilled("c2") == (4.0, 0.0)
    assert prefilled("t1") == (4.0 + 16, 0.0)
    assert prefilled("t2") == (16.0, 4.0)
    assert prefilled("t3") == (16.0, 4 + 16 + 10)  # what was written is held too
    assert prefilled("g") == (4.0 + 16, 0.0)
    assert prefilled("u") == (0.25, 4.0)


def test_an_engine_that_holds_the_contexts_computes_each_prompt_once() -> None:
    cost = GraphCost.of(WARMED, {"m": line("prefill", 1.0)})
    sizes = [cost.loads(WARMED.node(name))[0].size for name in ("c1", "t1", "t3")]
    assert sizes == [4.0, 16.0, 16.0]
