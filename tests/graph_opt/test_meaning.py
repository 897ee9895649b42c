"""No pass changes what a graph means: same outputs, same effects, in any order the edges allow."""

from random import Random

import pytest
from graph_reference import execute
from graph_strategies import graphs, patient
from hypothesis import given
from hypothesis import strategies as st

from graph_opt.facts import Facts
from graph_opt.graph import Graph
from graph_opt.pipeline import PASSES, Pass, optimize

NO_KV_CONTROL = Facts({"a": frozenset()})
SEEDS = st.integers(0, 2**16)


def _inputs(graph: Graph) -> list[object]:
    return [f"input {index}" for index in range(len(graph.params))]


def _assert_same_meaning(before: Graph, after: Graph, seed: int) -> None:
    expected = execute(before, _inputs(before))
    assert execute(after, _inputs(after)) == expected
    assert execute(after, _inputs(after), Random(seed)) == expected


@patient
@given(graph=graphs(), seed=SEEDS)
def test_a_random_graph_means_one_thing(graph: Graph, seed: int) -> None:
    _assert_same_meaning(graph, graph, seed)


@pytest.mark.parametrize("run", dict.fromkeys(PASSES), ids=lambda run: run.__name__)
@patient
@given(graph=graphs(), seed=SEEDS)
def test_a_pass_keeps_outputs_and_effects(run: Pass, graph: Graph, seed: int) -> None:
    _assert_same_meaning(graph, optimize(graph, (run,), NO_KV_CONTROL), seed)


@pytest.mark.parametrize("facts", [Facts(), NO_KV_CONTROL], ids=["all-can", "no-kv-control"])
@patient
@given(graph=graphs(), seed=SEEDS)
def test_the_pipeline_keeps_outputs_and_effects(facts: Facts, graph: Graph, seed: int) -> None:
    _assert_same_meaning(graph, optimize(graph, PASSES, facts), seed)


@patient
@given(graph=graphs(has_streams=False), seed=SEEDS)
def test_streams_with_room_for_one_item_come_to_an_end(graph: Graph, seed: int) -> None:
    expected = execute(graph, _inputs(graph))
    assert execute(optimize(graph), _inputs(graph), Random(seed), room=1) == expected


@pytest.mark.parametrize("facts", [Facts(), NO_KV_CONTROL], ids=["all-can", "no-kv-control"])
@patient
@given(graph=graphs(has_streams=False))
def test_a_second_run_of_the_pipeline_finds_nothing(facts: Facts, graph: Graph) -> None:
    once = optimize(graph, PASSES, facts)
    assert str(optimize(once, PASSES, facts)) == str(once)
