"""A router: one of several agents answers."""

import pytest

import teola as tl
from runtime.events import Event
from teola.errors import DefinitionError

chooser = tl.LLM("fake:", name="chooser", replies={"Task: a bill": "billing", "Task: ": "support"})
llm = tl.LLM("fake:")
billing = tl.Agent("billing", llm, instructions="You know bills.", description="Bills and refunds")
support = tl.Agent("support", llm, instructions="You help.\nAlways.")
router = tl.teams.router(chooser, {"billing": billing, "support": support})
both_ways = pytest.mark.parametrize("optimize", [True, False])


@both_ways
def test_the_agent_that_is_chosen_answers(optimize: bool) -> None:
    team = router.using(optimize=optimize)
    assert team("a bill") == billing("a bill")
    assert team("a question") == support("a question")


def test_nobody_else_is_asked() -> None:
    events: list[Event] = []
    router.using(listener=events.append, memo=False)("a bill")
    decodes = [event for event in events if event.kind == "end" and event.op == "decode"]
    assert len(decodes) == 2


def test_the_model_reads_what_each_agent_is_for() -> None:
    assert "- billing: Bills and refunds\\n- support: You help." in str(router.graph())


def test_a_router_is_one_graph_with_all_its_agents() -> None:
    graph = str(router.graph())
    assert "You know bills." in graph
    assert "Always." in graph
    assert "cond" in graph


def test_the_names_of_a_router_may_be_others_than_those_of_its_agents() -> None:
    names = tl.LLM("fake:", replies={"": "money"})
    team = tl.teams.router(names, {"people": support, "money": billing, "things": support})
    assert team("x") == billing("x")


def test_agents_of_a_router_may_be_teams() -> None:
    pair = tl.teams.sequence(support, billing)
    assert tl.teams.router(chooser, {"billing": pair, "support": support})("a bill") == pair(
        "a bill"
    )


def test_a_router_of_one_is_refused() -> None:
    with pytest.raises(DefinitionError, match="two agents or more by their names"):
        tl.teams.router(llm, {"billing": billing})


def test_a_router_of_what_is_no_agent_is_refused() -> None:
    with pytest.raises(DefinitionError, match="router takes agents"):
        tl.teams.router(llm, {"billing": billing, "len": len})  # type: ignore[dict-item]


def test_a_router_needs_a_model() -> None:
    with pytest.raises(TypeError, match="router needs an LLM"):
        tl.teams.router(billing, {"billing": billing, "support": support})  # type: ignore[arg-type]
