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
    ran = [event.op for event in events if event.kind == "end"]
    assert (ran.count("select"), ran.count("decode")) == (1, 1)


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


@both_ways
def test_without_a_clear_choice_the_default_answers(optimize: bool) -> None:
    routes = {"billing": billing, "support": support}
    close = tl.teams.router(chooser, routes, default="support", margin=1000.0)
    clear = tl.teams.router(chooser, routes, default="support", margin=0.001)
    assert close.using(optimize=optimize)("a bill") == support("a bill")
    assert clear.using(optimize=optimize)("a bill") == billing("a bill")


def test_an_engine_that_scores_no_texts_writes_a_name() -> None:
    team = router.using(engines={"chooser": "fake:api"})
    assert team("a bill") in (billing("a bill"), support("a bill"))


def test_a_default_is_a_name_and_has_a_margin() -> None:
    routes = {"billing": billing, "support": support}
    with pytest.raises(DefinitionError, match="is one of 'billing', 'support', not 'sales'"):
        tl.teams.router(llm, routes, default="sales", margin=1.0)
    with pytest.raises(DefinitionError, match="needs margin= above 0"):
        tl.teams.router(llm, routes, default="billing")
    with pytest.raises(DefinitionError, match="not None"):
        tl.teams.router(llm, routes, margin=1.0)


def test_a_router_of_one_is_refused() -> None:
    with pytest.raises(DefinitionError, match="two agents or more by their names"):
        tl.teams.router(llm, {"billing": billing})


def test_a_router_of_what_is_no_agent_is_refused() -> None:
    with pytest.raises(DefinitionError, match="router takes agents"):
        tl.teams.router(llm, {"billing": billing, "len": len})  # type: ignore[dict-item]


def test_a_router_needs_a_model() -> None:
    with pytest.raises(TypeError, match="router needs an LLM"):
        tl.teams.router(billing, {"billing": billing, "support": support})  # type: ignore[arg-type]


@both_ways
def test_the_text_of_the_chosen_agent_is_the_answer_in_streams(optimize: bool) -> None:
    nested = tl.teams.sequence(router, name="nested")
    for team in (router, nested):
        events = [*team.using(optimize=optimize, memo=False).stream("a bill")]
        said = [e.fields["text"] for e in events if e.kind == "text" and e.fields["final"]]
        assert "".join(said) == events[-1].fields["result"] != ""
