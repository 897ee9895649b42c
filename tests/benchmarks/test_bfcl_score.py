"""What BFCL turns are worth: reading calls from free text, and tallies."""

import pytest

from benchmarks.bfcl.cases import Case
from benchmarks.bfcl.match import Call
from benchmarks.bfcl.score import Tally, calls_in, is_well_formed

FUNCTION = {
    "name": "area.of",
    "description": "The area of a square.",
    "parameters": {
        "type": "dict",
        "properties": {"side": {"type": "integer"}, "unit": {"type": "string"}},
        "required": ["side"],
    },
}
CASE = Case("c", "How large?", (FUNCTION,), ({"area.of": {"side": [3], "unit": ["", "m"]}},))
NONE = Case("n", "Hello", (FUNCTION,), ())
RIGHT = Call("area_of", {"side": 3})


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("It is 9.", []),
        ('<tool_call>\n{"name": "area_of", "arguments": {"side": 3}}\n</tool_call>', [RIGHT]),
        ('<tool_call>{"name": "area_of", "arguments": {"side": 3}}', [RIGHT]),
        ('```json\n{"name": "area_of", "arguments": {"side": 3}}\n```', [RIGHT]),
        ('{"tools": [{"name": "area_of", "arguments": {"side": 3}}]}', [RIGHT]),
        ('<tool_call>{"name": "area_of", "arguments": {"side": 3', [None]),
        ('<tool_call>{"name": "area_of", "arguments": "3"}', [None]),
        ('{"name": "area_of", "arguments": {"side": ', [None]),
        ('<tool_call>{"name": "f", "arguments": {}}<tool_call>no', [Call("f", {}), None]),
    ],
)
def test_calls_are_found_in_free_text(text: str, calls: list[Call | None]) -> None:
    assert calls_in(text) == calls


@pytest.mark.parametrize(
    ("call", "formed"),
    [
        (RIGHT, True),
        (Call("area_of", {"side": 3, "unit": "m"}), True),
        (Call("area_of", {"side": "3"}), False),
        (Call("area_of", {}), False),
        (Call("area_of", {"side": 3, "colour": "red"}), False),
        (Call("area_between", {"side": 3}), False),
    ],
)
def test_a_call_is_well_formed_if_it_fits_a_tool_s_schema(call: Call, formed: bool) -> None:
    assert is_well_formed(call, CASE) == formed


def test_a_tally_counts_calls_that_are_well_formed_and_cases_that_are_right() -> None:
    tally = Tally()
    tally.add(CASE, [RIGHT])
    tally.add(CASE, [Call("area_of", {"side": 4})])
    tally.add(CASE, [None])
    tally.add(CASE, [])
    tally.add(NONE, [])
    tally.add(NONE, [RIGHT])
    assert tally.row() == {
        "cases": 6,
        "calling": 4,
        "calls": 4,
        "well_formed": 0.75,
        "accuracy": 0.3333,
    }
    assert tally.problems["n"] == "called a function, and none fits"


def test_where_nothing_was_called_no_share_is_told() -> None:
    tally = Tally()
    tally.add(NONE, [])
    assert tally.row()["well_formed"] is None
