"""No pass changes what a graph means: same outputs, same effects, in any order the edges allow."""

from random import Random

import pytest
from graph_reference import execute
from graph_strategies import graphs, patient
from hypothesis import given
from hypothesis import strategies as st

from graph_opt.graph import Graph
from graph_opt.pipeline import PASSES, Pass, optimize


def _inputs(graph: Graph) -> list[object]:
    return [f"input {index}" for index in range(len(graph.params))]


@pytest.mark.parametrize("run", dict.fromkeys(PASSES), ids=lambda run: run.__name__)
@patient
@given(graph=graphs(), seed=st.integers(0, 2**16))
def test_a_pass_keeps_outputs_and_effects(run: Pass, graph: Graph, seed: int) -> None:
    expected = execute(graph, _inputs(graph))
    result = run(graph)
    assert execute(result, _inputs(graph)) == expected
    assert execute(result, _inputs(graph), Random(seed)) == expected


@patient
@given(graph=graphs(), seed=st.integers(0, 2**16))
def test_the_pipeline_keeps_outputs_and_effects(graph: Graph, seed: int) -> None:
    expected = execute(graph, _inputs(graph))
    result = optimize(graph)
    assert execute(result, _inputs(graph)) == expected
    assert execute(result, _inputs(graph), Random(seed)) == expected


@patient
@given(graph=graphs())
def test_a_second_run_of_the_pipeline_finds_nothing(graph: Graph) -> None:
    once = optimize(graph)
    assert str(optimize(once)) == str(once)
