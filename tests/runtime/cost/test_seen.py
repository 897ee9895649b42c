"""What queries find out corrects what the plan expects of the next ones."""

from collections.abc import Sequence as Items
from itertools import pairwise
from typing import Any

import pytest

import teola as tl
from backends.base import Request, Usage
from backends.fake.llm import FakeLLM
from graph_opt.text import parse
from runtime.cost.graph_cost import GraphCost
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency, Load
from runtime.cost.seen import Seen, SeenNodes
from runtime.hints import hints_of

GRAPH = parse("""\
graph g {
  %files = input [type="list[str]"]
  %m = map %files {
    %x = input [type="str"]
    %c0 = context [engine="llm"]
    %c = prefill %c0 "Sum up: " %x [engine="llm"]
    %t, %after = decode %c [engine="llm", max_tokens=200]
    return %t
  }
  return %m
}""")
LATENCIES = {"llm": EngineLatency(NOTHING_MEASURED)}


def work_s(seen: SeenNodes) -> float:
    base = GraphCost.of(GRAPH, LATENCIES)
    cost = GraphCost(base.latencies, base.sizes, seen=seen.in_graph(GRAPH))
    return next(iter(hints_of(GRAPH, cost).values())).work_s


def test_work_of_a_query_is_that_of_the_queries_before() -> None:
    seen = SeenNodes()
    before = work_s(seen)
    seen.at("m[].c").note(Usage(prefill_tokens=10))
    seen.at("m[].t").note(Usage(prefill_tokens=1, decode_tokens=4))
    seen.at("m").note_turns(2)
    latency = LATENCIES["llm"]
    prompt_s = latency.seconds(Load("prefill", 10, 0.0))
    text_s = latency.seconds(Load("decode", 1, 0.0, 4))
    assert abs(work_s(seen) - 2 * (prompt_s + text_s)) < 1e-9
    assert work_s(seen) < before / 8


def test_means_follow_what_is_new_and_remembered_work_says_nothing() -> None:
    seen = Seen()
    seen.note(Usage(prefill_tokens=100, decode_tokens=8), num_texts=2)
    assert (seen.computed_tokens, seen.written_tokens) == (100, 4)
    seen.note(Usage())
    assert seen.num_notes == 1
    for _ in range(40):
        seen.note(Usage(prefill_tokens=20, cached_tokens=80, decode_tokens=1))
    assert abs(seen.computed_tokens - 20) < 0.1
    assert abs(seen.written_tokens - 1) < 0.1


def test_hints_are_made_anew_after_few_queries_and_then_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    works: dict[str, float] = {}
    execute = FakeLLM.execute

    async def spy(self: FakeLLM, requests: Items[Request]) -> Any:
        for request in requests:
            assert request.place is not None
            assert request.place.left is not None
            works.setdefault(request.place.query, request.place.left.work_s)
        return await execute(self, requests)

    monkeypatch.setattr(FakeLLM, "execute", spy)
    llm = tl.LLM("fake:", replies={"": "yes"})

    @tl.prompt(llm, max_tokens=500)
    def answer(question: str) -> str:
        return f"Answer {question}"

    @tl.app
    def ask(question: str) -> str:
        return answer(question)

    for number in range(20):
        assert ask.using(memo=False)(f"{number}?") == "yes"
    found = list(works.values())
    assert found[0] > 5 * found[-1]
    assert 1 <= sum(a != b for a, b in pairwise(found)) <= 6
