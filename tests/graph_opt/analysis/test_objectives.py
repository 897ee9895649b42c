"""Objectives, on a graph of two outputs.

q -- embed v --.
q -- search h --+- rerank r -- prefill c1 -- decode t -- (answer)
c0 -- prefill p ------------'
q -- map m (embed w, search s) -- flatten f -- rerank k -- (report)
"""

from graph_strategies import graphs, patient
from graph_text import graph
from hypothesis import given

from graph_opt.analysis.objectives import Objective, deduce_objectives
from graph_opt.graph import Graph
from graph_opt.paths import walk

G = graph(
    """
    %q = input [type="str"]
    %v = embed %q [engine="e"]
    %h = search null %q [engine="s"]
    %both = pack %v %h
    %r = rerank %q %both [engine="r"]
    %c0 = context [engine="m"]
    %p = prefill %c0 "Answer" [engine="m"]
    %c1 = prefill %p %r [engine="m"]
    %t, %c2 = decode %c1 [engine="m"]
    %m = map %q {
      %x = input [type="str"]
      %w = embed %x [engine="e"]
      %s = search null %x %w [engine="s"]
      return %s
    }
    %f = flatten %m
    %k = rerank %q %f [engine="r"]
    %sent = call %q [fn="send"]
    return %t, %k
    """
)


def test_a_query_waits_for_its_effects_too_unless_all_of_it_is_wanted_in_bulk() -> None:
    found = deduce_objectives(G)
    assert {objective.kind for objective in found.values()} == {"latency"}
    assert deduce_objectives(G, throughput=["k"])["sent"].kind == "latency"
    assert deduce_objectives(G, throughput=["t", "k"])["sent"].kind == "throughput"


def test_parallel_producers_of_one_consumer_are_a_group_whatever_is_between() -> None:
    found = deduce_objectives(G)
    assert found["v"] == found["h"] == Objective("latency", "r", 3)
    assert found["r"] == found["p"] == Objective("latency", "c1", 2)
    assert found["c1"] == Objective("latency", None, 1)


def test_the_branches_of_a_map_are_a_group_of_the_maps_name_in_stages() -> None:
    found = deduce_objectives(G)
    assert found["m[].w"] == Objective("latency", "m", 2)
    assert found["m[].s"] == Objective("latency", "m", 1)


def test_what_only_makes_an_output_wanted_in_bulk_is_for_throughput_and_in_no_group() -> None:
    found = deduce_objectives(G, throughput=["k"])
    assert found["k"] == Objective("throughput", None, 0)
    assert found["m[].w"] == Objective("throughput", None, 2)
    assert found["q"].kind == "latency"
    assert found["v"].kind == "latency"


def test_one_of_two_that_waits_for_the_other_is_in_no_group() -> None:
    found = deduce_objectives(
        graph(
            """
            %q = input [type="str"]
            %v = embed %q [engine="e"]
            %h = search null %q %v [engine="s"]
            %r = rerank %v %h [engine="r"]
            return %r
            """
        )
    )
    assert {objective.group for objective in found.values()} == {None}


def test_outputs_made_side_by_side_and_packed_are_a_group() -> None:
    found = deduce_objectives(
        graph(
            """
            %q = input [type="str"]
            %a = embed %q [engine="e"]
            %b = embed %q [engine="f"]
            %p = pack %a %b
            return %p
            """
        )
    )
    assert found["a"] == found["b"] == Objective("latency", "p", 0)


MARKED = """
    %q = input [type="str"]
    %a = embed %q [engine="e"]
    %b = embed %a [engine="e", objective="MARK"]
    %m = map %b {
      %x = input [type="str"]
      %w = embed %x [engine="e"]
      return %w
    }
    %n = map %b [objective="throughput"] {
      %x = input [type="str"]
      %v = embed %x [engine="e"]
      %u = embed %v [engine="e", objective="latency"]
      return %v
    }
    return %m, %n
    """


def test_a_mark_is_the_objective_of_a_node_and_of_all_that_leads_to_it() -> None:
    found = deduce_objectives(graph(MARKED.replace("MARK", "throughput")))
    assert {name: each.kind for name, each in found.items()} == {
        **dict.fromkeys(["q", "a", "b"], "throughput"),
        **dict.fromkeys(["m", "m[].x", "m[].w"], "latency"),
        "n": "throughput",
        "n[].x": "latency",
        "n[].v": "latency",
        "n[].u": "latency",
    }


def test_a_mark_holds_in_a_query_that_is_wanted_in_bulk() -> None:
    marked = graph(MARKED.replace("MARK", "latency"))
    found = deduce_objectives(marked, marked.outputs)
    assert found["a"].kind == found["b"].kind == "latency"
    assert found["m"].kind == found["m[].w"].kind == "throughput"


def test_what_two_readers_want_differently_is_for_latency() -> None:
    found = deduce_objectives(
        graph(
            """
            %q = input [type="str"]
            %a = embed %q [engine="e"]
            %b = embed %a [engine="e", objective="throughput"]
            %c = embed %a [engine="e"]
            return %b, %c
            """
        )
    )
    assert found["a"].kind == "latency"
    assert found["b"].kind == "throughput"


@patient
@given(graphs())
def test_every_node_of_any_graph_has_an_objective(random: Graph) -> None:
    assert deduce_objectives(random).keys() == {path for path, _, _ in walk(random)}
