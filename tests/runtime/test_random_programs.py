"""Whatever runs at once, a program means one thing: its values, its effects in order, its error."""

import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from conftest import World
from programs_as_graphs import Functions, programs, speeds

from graph_opt.graph import Graph
from graph_opt.pipeline import PASSES, Pass, optimize
from graph_opt.plain import as_written
from graph_opt.text import parse
from runtime.errors import NodeFailed, QueryError
from runtime.outputs import Outputs

EACH = [(one,) for one in dict.fromkeys(PASSES)]
patient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def as_told(result: Any) -> Any:
    """Values and errors in a form that can be compared."""
    if isinstance(result, NodeFailed):
        return f"failed: {result.cause}"
    if isinstance(result, Exception):
        return repr(result)
    return [as_told(item) for item in result] if isinstance(result, list) else result


def run(graph: Graph, options: dict[str, Any]) -> tuple[Any, list[str]]:
    """What comes of a graph, and its effects."""
    functions = Functions()
    (result,) = World(**options).run_all(str(graph), inputs={"x": "x"}, symbols=functions.symbols)
    assert not isinstance(result, Exception) or isinstance(result, QueryError), result
    return as_told(result), functions.done


def run_separately(graph: Graph, options: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """What comes of each value that a graph returns, and its effects."""
    functions, told = Functions(), dict[str, Any]()
    outputs = Outputs(told.__setitem__, told.__setitem__)
    World(**options).run_all(
        str(graph), inputs={"x": "x"}, symbols=functions.symbols, outputs=outputs
    )
    return [as_told(told[name]) for name in graph.outputs], functions.done


@patient
@given(text=programs(), options=speeds(), passes=st.sampled_from([PASSES, *EACH]))
def test_a_program_ends_the_same_plain_and_optimized(
    text: str, options: dict[str, Any], passes: tuple[Pass, ...]
) -> None:
    plain = as_written(parse(text))
    assert run(optimize(plain, passes), options) == run(plain, options)


@patient
@given(text=programs(), options=speeds())
def test_each_value_of_a_segment_is_the_same_plain_and_optimized(
    text: str, options: dict[str, Any]
) -> None:
    plain = as_written(parse(text))
    assert run_separately(optimize(plain), options) == run_separately(plain, options)


@patient
@given(text=programs(), options=speeds(), other=speeds())
def test_the_speed_of_engines_changes_no_outcome(
    text: str, options: dict[str, Any], other: dict[str, Any]
) -> None:
    graph = optimize(as_written(parse(text)))
    assert run(graph, options) == run(graph, other)


@patient
@given(text=programs(), options=speeds(), at_s=st.sampled_from([0.05, 0.25, 0.55, 1.05, 2.05]))
def test_a_query_that_ends_early_leaves_no_effect_out_of_order(
    text: str, options: dict[str, Any], at_s: float
) -> None:
    plain = as_written(parse(text))
    _, expected = run(plain, options)
    functions = Functions()
    World(**options).run_all(
        str(optimize(plain)), inputs={"x": "x"}, symbols=functions.symbols, timeout_s=at_s
    )
    assert functions.done == expected[: len(functions.done)]
