"""What a plan should take, on graphs whose costs are written into them."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from graph_opt.graph import Graph
from graph_opt.pipeline import optimize
from graph_opt.text import parse
from runtime.cost.curves import Curve, Surface
from runtime.cost.graph_cost import GraphCost
from runtime.cost.latency import EngineLatency, LatencyModel
from teola.device_work import Placed
from teola.estimate import Estimate, estimate, predictions

sys.path.insert(0, str(Path(__file__).parents[1] / "graph_opt"))
from graph_strategies import graphs

ONE_S = Surface.flat(Curve(((1.0, 1.0), (1000.0, 1.0))))  # a second, however much it is
FIXED = LatencyModel(
    {
        "embed": Surface.flat(Curve.line(0.0, 1.0)),
        "ingest": ONE_S,
        "search": ONE_S,
        "rerank": Surface.flat(Curve.line(0.0, 1.0)),
        "prefill": ONE_S,
        "decode": Surface.flat(Curve.line(0.0, 1.0)),
        "call:load": ONE_S,
    }
)


def expected(text: str, batch_items: Mapping[str, int] | None = None) -> Estimate:
    graph = parse(text)
    engines = ("e", "s", "r", "m", "python")
    cost = GraphCost.of(graph, {name: EngineLatency(FIXED) for name in engines})
    return estimate(graph, cost, batch_items or {})


def steps(found: Estimate) -> list[str]:
    return [f"{step.node} {step.adds_s:g}" for step in found.path]


def test_the_longer_of_two_branches_is_the_critical_path() -> None:
    found = expected("""
    graph g {
      %x = input [type="str"]
      %c0 = context [engine="m"]
      %a = prefill %c0 %x [engine="m"]
      %t, %c = decode %a [engine="m", max_tokens=5]
      %v = embed %x [engine="e"]
      %found = search null %t %v [engine="s", k=3]
      return %found
    }
    """)

    assert steps(found) == ["a 1", "t 5", "found 1"]
    assert found.path_s == 7
    assert found.work_s == {"m": 6, "e": 1, "s": 1}


SEARCHES = """
graph g {{
  %c0 = context [engine="m"]
  %c1 = prefill %c0 "queries" [engine="m"]
  %json, %c2 = decode %c1 [engine="m", max_tokens=6, schema={{"properties": {{"qs": {{"maxItems": 3, "minItems": 3, "type": "array"}}}}, "type": "object"}}]
  {list}
  %m = map {arg} {order}{{
    %q = input [type="str"]
    %v = embed %q [engine="e"]
    %found = search null %q %v [engine="s", k=2]
    return %found
  }}
  return %m
}}
"""  # noqa: E501
WHOLE = '%p = parse %json [type="Q"]\n  %qs = get %p [path=["qs"]]'
STREAM = '%qs = elements ~%json [items="Q.qs", path=["qs"], type="Q"]'


def test_of_a_map_one_item_is_on_the_path_and_all_are_work() -> None:
    found = expected(SEARCHES.format(list=WHOLE, arg="%qs", order=""))

    assert steps(found) == ["c1 1", "json 6", "m[].v 1", "m[].found 1"]
    assert found.work_s == {"m": 7, "e": 3, "s": 3}


def test_a_sequential_map_has_all_its_items_on_the_path() -> None:
    found = expected(SEARCHES.format(list=WHOLE, arg="%qs", order='[order="sequential"] '))

    assert steps(found) == ["c1 1", "json 6", "m[].v 3", "m[].found 3"]


def test_a_streamed_map_ends_one_item_after_its_source() -> None:
    found = expected(SEARCHES.format(list=STREAM, arg="~%qs", order=""))

    assert found.path_s == 1 + 6 + 2


STAGES = """
graph g {{
  %docs = input [type="list[Doc]"]
  %v = embed {mark}%docs [engine="e"]
  %best = rerank "q" {mark}%v [engine="s"]
  return %best
}}
"""


def test_stages_overlap_piece_by_piece() -> None:
    whole = expected(STAGES.format(mark=""), {"e": 2, "s": 2})
    streamed = expected(STAGES.format(mark="~"), {"e": 2, "s": 2})

    assert whole.path_s == 16  # eight documents embedded, then ranked
    assert streamed.path_s == pytest.approx(10)  # the last of four pieces is left


def test_a_branch_of_a_condition_that_takes_longer_counts() -> None:
    found = expected("""
    graph g {
      %yes = input [type="bool"]
      %x = input [type="str"]
      %r = cond %yes %x {
        %x = input [type="str"]
        %v = embed %x [engine="e"]
        return %v
      } else {
        %x = input [type="str"]
        %w = embed %x [engine="e"]
        %d = search null %x %w [engine="s"]
        return %d
      }
      return %r
    }
    """)

    assert steps(found) == ["r{else}.w 1", "r{else}.d 1"]
    assert found.work_s == {"e": 1, "s": 1}


def test_each_primitive_has_its_prediction_by_its_path() -> None:
    graph = parse(SEARCHES.format(list=WHOLE, arg="%qs", order=""))
    cost = GraphCost.of(graph, {name: EngineLatency(FIXED) for name in ("e", "s", "m")})

    assert predictions(graph, cost) == {"c1": 1, "json": 6, "m[].v": 1, "m[].found": 1}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graphs())
def test_any_graph_can_be_estimated_and_its_path_is_a_part_of_its_work(graph: Graph) -> None:
    for each in (graph, optimize(graph)):
        found = estimate(each, GraphCost.of(each, {}), {})

        assert sum(step.adds_s for step in found.path) == pytest.approx(found.path_s)
        assert found.path_s <= found.total_work_s + 1e-9


def test_a_late_capture_holds_up_only_what_reads_it() -> None:
    graph = """
    graph g {
      %docs = input [type="list[Doc]"]
      %qs = input [type="list[str]"]
      %slow = call %docs [engine="python", fn="load"]
      %index = ingest %slow null [engine="s"]
      %m = map %qs %index {
        %q = input [type="str"]
        %i = input [type="Index"]
        %v = embed %q [engine="e"]
        %hits = search %i %q %v [engine="s"]
        return %hits
      }
      return %m
    }
    """

    assert expected(graph).path_s == 3  # load, ingest, search; the embedding is done by then
    first = graph.replace("%index {", "%index after %index {")
    assert expected(first).path_s == 4


def test_a_fallback_that_is_not_expected_to_run_lengthens_no_path() -> None:
    graph = """
    graph g {
      %q = input [type="str"]
      %slow = call %q [engine="python", fn="f", pure=true]
      %a = attempt null %slow {
        %error = input [type="Exception"]
        %s = input [type="str"]
        %v = embed "x" [engine="e"]
        return %v
      } else {
        %error = input [type="Exception"]
        %s = input [type="str"]
        %c0 = context [engine="m"]
        %t, %c1 = decode %c0 %s [engine="m", max_tokens=500]
        return %t
      }
      return %a
    }
    """

    found = expected(graph)
    assert found.path_s <= found.total_work_s
    assert sum(step.adds_s for step in found.path) == pytest.approx(found.path_s)


IN_A_MAP = """
graph g {
  %xs = input [type="list[str]"]
  %m = map %xs {
    %x = input [type="str"]
    %v = embed %x [engine="e"]
    %c0 = context [engine="m"]
    %c1 = prefill %c0 %x [engine="m"]
    %t, %c2 = decode %c1 [engine="m", max_tokens=5]
    return %t
  }
  return %m
}
"""


def busy(engines: Mapping[str, Placed]) -> Mapping[str, float]:
    graph = parse(IN_A_MAP)
    cost = GraphCost.of(graph, {name: EngineLatency(FIXED) for name in ("e", "m")})
    return estimate(graph, cost, {}, engines).device_s


def test_engines_on_one_device_add_up() -> None:
    alone = busy({"e": Placed("a", 1), "m": Placed("b", 1)})
    shared = busy({"e": Placed("a", 1), "m": Placed("a", 1)})
    assert set(alone) == {"a", "b"}
    assert shared == {"a": pytest.approx(alone["a"] + alone["b"])}


def test_what_goes_in_one_batch_takes_the_time_of_that_batch() -> None:
    """A prefill takes a second however much it is: one for each batch of the map's items."""
    prefills = [busy({"m": Placed("b", items)})["b"] for items in (1, 2, 100)]
    num_items = prefills[0] / 6  # each alone: a prefill of a second, five tokens of one
    assert num_items > 2
    # a decode of two takes two seconds a token here, so only the prefills are shared
    assert prefills[1] == pytest.approx(5 * num_items + -(-num_items // 2))
    assert prefills[2] == pytest.approx(5 * num_items + 1)


def test_a_query_takes_no_less_than_its_path_and_no_less_than_any_device() -> None:
    assert Estimate(2.0, (), {}, {"cpu": 3.0, "gpu": 1.0}).bound_s == 3.0
    assert Estimate(2.0, (), {}, {"cpu": 3.0, "gpu": 1.0}).bound_by == "cpu"
    assert Estimate(4.0, (), {}, {"cpu": 3.0}).bound_s == 4.0
    assert Estimate(4.0, (), {}, {"cpu": 3.0}).bound_by == "critical path"
    assert Estimate(4.0, (), {}).bound_s == 4.0
