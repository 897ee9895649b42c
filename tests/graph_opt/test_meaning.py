"""No pass changes what a graph means: same outputs or error, same effects, in any order there is.

What it means is what `graph_reference.execute` does with it in plain order.
"""

from random import Random

import pytest
from graph_reference import execute
from graph_strategies import graphs, patient
from hypothesis import given
from hypothesis import strategies as st

from graph_opt.facts import Facts
from graph_opt.graph import Graph, Node
from graph_opt.ops import OPS
from graph_opt.passes.coalesce import coalesce
from graph_opt.passes.warm_up import warm_up
from graph_opt.pipeline import PASSES, Pass, optimize
from graph_opt.plain import as_written
from graph_opt.tokens import num_tokens

WITH_CLIENT = frozenset({"prefill", "warm_up", "decode_parts", "fork"})


class PerToken:
    """A prefill that runs ahead costs by its tokens, one that stays with the client nothing."""

    def seconds(self, node: Node) -> float:
        if node.op == "prefill":
            return 0.02 + 0.01 * num_tokens(node.args[1:]) if "ahead" in node.attrs else 0.0
        return 0.0 if OPS[node.op].engine_kind is None else 0.2


NO_KV_CONTROL = Facts({"a": frozenset()})
WARMED = Facts({"a": WITH_CLIENT, "b": WITH_CLIENT | {"shares_in_flight"}})
PRICED = Facts(WARMED.capabilities, PerToken())
MIXED = Facts({"a": frozenset({"generate"}), "b": WITH_CLIENT})
ALL_FACTS = {
    "all-can": Facts(),
    "no-kv-control": NO_KV_CONTROL,
    "warmed": WARMED,
    "priced": PRICED,
    "mixed": MIXED,
}
EACH_FACTS = pytest.mark.parametrize("facts", ALL_FACTS.values(), ids=ALL_FACTS)
SEEDS = st.integers(0, 2**16)


def _inputs(graph: Graph) -> list[object]:
    return [f"input {index}" for index in range(len(graph.params))]


def _assert_same_meaning(before: Graph, after: Graph, seed: int, room: int | None = None) -> None:
    expected = execute(before, _inputs(before))
    assert execute(after, _inputs(after)) == expected
    assert execute(after, _inputs(after), Random(seed), room) == expected


@patient
@given(graph=graphs(), seed=SEEDS)
def test_a_graph_as_written_means_one_thing_in_any_order(graph: Graph, seed: int) -> None:
    _assert_same_meaning(graph, as_written(graph), seed)


@pytest.mark.parametrize("run", dict.fromkeys(PASSES), ids=lambda run: run.__name__)
@patient
@given(graph=graphs(), seed=SEEDS)
def test_a_pass_keeps_the_meaning(run: Pass, graph: Graph, seed: int) -> None:
    after = optimize(as_written(graph), (run,), NO_KV_CONTROL)
    _assert_same_meaning(graph, after, seed)


@EACH_FACTS
@patient
@given(graph=graphs(), seed=SEEDS)
def test_the_pipeline_keeps_the_meaning(facts: Facts, graph: Graph, seed: int) -> None:
    _assert_same_meaning(graph, optimize(as_written(graph), PASSES, facts), seed)


def _warm_up_any_head(graph: Graph, facts: Facts) -> Graph:
    return warm_up(graph, facts, min_head_tokens=1)


@pytest.mark.parametrize(
    ("run", "facts"),
    [(coalesce, MIXED), (_warm_up_any_head, WARMED), (_warm_up_any_head, MIXED), (warm_up, PRICED)],
)
@patient
@given(graph=graphs(), seed=SEEDS)
def test_prompts_written_out_keep_the_meaning(
    run: Pass, facts: Facts, graph: Graph, seed: int
) -> None:
    _assert_same_meaning(graph, optimize(as_written(graph), (run,), facts), seed)


@patient
@given(graph=graphs(has_streams=False), seed=SEEDS)
def test_streams_with_room_for_one_item_come_to_an_end(graph: Graph, seed: int) -> None:
    _assert_same_meaning(graph, optimize(as_written(graph)), seed, room=1)


@EACH_FACTS
@patient
@given(graph=graphs(has_streams=False))
def test_a_second_run_of_the_pipeline_finds_nothing(facts: Facts, graph: Graph) -> None:
    once = optimize(as_written(graph), PASSES, facts)
    assert str(optimize(once, PASSES, facts)) == str(once)
