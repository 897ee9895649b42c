"""The benchmark of tool calls: what its ways read from a model's turn."""

import asyncio
import json

import pytest

import teola as tl
from benchmarks.bench_tools import all_well_formed, asked_in, tally, tally_over_http, way_of
from benchmarks.bfcl.cases import Case, cases
from benchmarks.bfcl.match import Call
from benchmarks.bfcl.ways import Calls, by_agent, freely
from benchmarks.remote.servers import served

FUNCTION = {
    "name": "area.of",
    "description": "The area of a square.",
    "parameters": {
        "type": "dict",
        "properties": {"side": {"type": "integer"}},
        "required": ["side"],
    },
}
CASE = Case("c", "How large is it?", (FUNCTION,), ({"area.of": {"side": [3]}},))


def model(reply: str) -> tl.LLM:
    return tl.LLM("fake:", replies={"How large": reply})


def called(side: object) -> str:
    text = json.dumps({"name": "area_of", "arguments": {"side": side}})
    return f"<tool_call>\n{text}\n</tool_call>"


@pytest.mark.parametrize(
    ("reply", "calls"),
    [
        (called(3), [Call("area_of", {"side": 3})]),
        (called("three"), [Call("area_of", {"side": "three"})]),
        ('<tool_call>\n{"name": "area_of", "arg', [None]),
        ("I do not know.", []),
    ],
)
def test_an_agent_s_calls_are_those_that_its_tools_got(reply: str, calls: Calls) -> None:
    assert asyncio.run(by_agent(model(reply), "auto")(CASE)) == calls


def test_a_free_turn_is_read_behind_the_tools_in_the_prompt() -> None:
    llm = tl.LLM("fake:", replies={r"(?s)<tools>.*area_of.*How large": called(3)})
    assert asyncio.run(freely(llm, begun=False)(CASE)) == [Call("area_of", {"side": 3})]


def test_a_turn_that_was_begun_goes_on_behind_its_tag() -> None:
    llm = tl.LLM("fake:", replies={r"<tool_call>\s*$": '{"name": "area_of", "arguments": {}}'})
    assert asyncio.run(freely(llm, begun=True)(CASE)) == [Call("area_of", {})]


def test_one_constrained_call_that_is_not_well_formed_misses_the_target() -> None:
    rows = {"required": {"well_formed": 1.0}, "auto": {"well_formed": None}}
    assert all_well_formed({"a": {**rows, "free": {"well_formed": 0.1}}})
    assert not all_well_formed({"a": rows, "b": {"required": {"well_formed": 0.99}}})


@pytest.mark.model
def test_on_the_real_model_constrained_calls_are_well_formed() -> None:
    llm = tl.LLM("local:smollm2-135m")
    found = asyncio.run(tally(cases("simple_python", limit=4), way_of("required", llm)))
    assert found.calls == found.well_formed == found.cases == 4
    assert found.right >= 2


def test_cases_are_asked_in_ways_that_can_answer_them() -> None:
    assert not asked_in("irrelevance", "client")
    assert asked_in("irrelevance", "client_auto")
    assert not asked_in("parallel", "required")
    assert asked_in("parallel", "client")


@pytest.mark.model
@pytest.mark.server
def test_over_the_openai_client_several_calls_of_a_turn_are_well_formed() -> None:
    with served("local:smollm2-135m") as url:
        parallel = cases("parallel", limit=3)
        found = asyncio.run(tally_over_http(parallel, url, "required", is_parallel=True))
        assert found.calls == found.well_formed > found.cases == 3
        multiple = cases("multiple", limit=3)
        found = asyncio.run(tally_over_http(multiple, url, "required", is_parallel=False))
        assert found.calls == found.well_formed == found.cases == 3
