"""BFCL's rules of what a right call is, and its cases as tools."""

from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from benchmarks.bfcl.cases import CATEGORIES, SAMPLE, cases, json_schema, safe_name
from benchmarks.bfcl.match import Call, mismatch

MAX_SAMPLE_BYTES = 120_000


def function(**properties: Any) -> dict[str, Any]:
    parameters = {"type": "dict", "properties": properties, "required": []}
    return {"name": "f", "description": "", "parameters": parameters}


def is_right(value: Any, schema: dict[str, Any], options: list[Any]) -> bool:
    """Whether f(a=value) is right where `options` are."""
    return (
        mismatch([Call("f", {"a": value})], [function(a=schema)], [{"f": {"a": options}}]) is None
    )


STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}
FLOAT: dict[str, Any] = {"type": "float"}
NUMBERS: dict[str, Any] = {"type": "array", "items": FLOAT}
STRINGS: dict[str, Any] = {"type": "array", "items": STRING}
DICT: dict[str, Any] = {"type": "dict"}
DICTS: dict[str, Any] = {"type": "array", "items": DICT}


@pytest.mark.parametrize("value", ["April 1, 2024", "april 1 2024", "APRIL-1/2024", "April_1.2024"])
def test_texts_are_compared_without_case_spaces_and_some_signs(value: str) -> None:
    assert is_right(value, STRING, ["April 1,2024"])


def test_single_quotes_are_double_ones_and_other_signs_count() -> None:
    assert is_right("say 'yes'", STRING, ['say "yes"'])
    assert not is_right("yes!", STRING, ["yes"])


@pytest.mark.parametrize(
    ("value", "schema", "options", "right"),
    [
        (5, INTEGER, [5, 6], True),
        (7, INTEGER, [5, 6], False),
        (5.0, INTEGER, [5], False),  # types are exact
        (True, INTEGER, [1], False),
        ("5", INTEGER, [5], False),
        (5, FLOAT, [5.0], True),  # but an int may stand for a float
        (5, FLOAT, [4.5], False),
        ("side", INTEGER, ["side"], True),  # a variable's name, as the answer has it
        ("Side", INTEGER, ["side"], False),  # which is compared as it is
        ([1.0, 2.5], NUMBERS, [[1.0, 2.5]], True),
        ([1.0, 2.5], NUMBERS, [[2.5, 1.0]], False),  # in this order
        (["New York"], STRINGS, [["new york"]], True),
        ([5], STRINGS, [["5"]], False),
        ([], STRINGS, ["", ["a"]], True),  # left out, or empty
        ({"x": "A b"}, DICT, [{"x": ["ab"], "y": ["", 1]}], True),
        ({"x": "ab", "z": 1}, DICT, [{"x": ["ab"]}], False),
        ({}, DICT, [{"x": ["ab"]}], False),
        ([{"x": 1}, {"x": 2}], DICTS, [[{"x": [1]}, {"x": [2, 3]}]], True),
        ([{"x": 1}], DICTS, [[{"x": [1]}, {"x": [2, 3]}]], False),
        ([{"x": 2}, {"x": 1}], DICTS, [[{"x": [1]}, {"x": [2, 3]}]], False),
    ],
)
def test_values_are_right_by_their_type_and_the_answers(
    value: Any, schema: dict[str, Any], options: list[Any], right: bool
) -> None:
    assert is_right(value, schema, options) == right


def test_a_parameter_is_left_out_only_where_the_answer_says_so() -> None:
    described = function(a=INTEGER, b=INTEGER)
    call = [Call("f", {"a": 1})]
    assert mismatch(call, [described], [{"f": {"a": [1], "b": ["", 2]}}]) is None
    assert mismatch(call, [described], [{"f": {"a": [1], "b": [2]}}]) == "without 'b'"


def test_a_required_parameter_is_never_left_out() -> None:
    described = function(a=INTEGER)
    described["parameters"]["required"] = ["a"]
    assert mismatch([Call("f", {})], [described], [{"f": {"a": [""]}}]) == "without 'a'"


def test_a_parameter_that_no_answer_has_is_wrong() -> None:
    problem = mismatch([Call("f", {"b": 1})], [function(b=INTEGER)], [{"f": {}}])
    assert problem == "with 'b', which is not expected"


def test_there_is_one_call_and_it_names_the_function() -> None:
    answer: list[dict[str, Any]] = [{"f": {}}]
    assert mismatch([], [function()], answer) == "0 calls instead of 1"
    assert mismatch([Call("f", {})] * 2, [function()], answer) == "2 calls instead of 1"
    assert mismatch([Call("g", {})], [function()], answer) == "called 'g' instead of 'f'"


@pytest.mark.parametrize("category", CATEGORIES)
def test_each_case_of_the_sample_makes_tools_with_valid_schemas(category: str) -> None:
    found = cases(category)
    assert len(found) == 20
    for case in found:
        assert case.question
        for tool in case.tools:
            jsonschema.Draft202012Validator.check_schema(tool["parameters"])
            assert tool["name"] == safe_name(tool["name"])


def chosen(options: Any) -> Any:
    """A value that an answer takes for right; in dicts each key has options of its own."""
    value = next((option for option in options if option != ""), "")
    return _values(value)


def _values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: chosen(options) for key, options in value.items() if "" not in options}
    return [_values(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("category", ["simple_python", "multiple", "parallel"])
def test_the_answers_of_the_sample_are_right_and_fit_the_schemas(category: str) -> None:
    for case in cases(category):
        calls = [right_call(answer) for answer in case.answer]
        assert case.problem(calls) is None
        assert case.problem(calls[::-1]) is None
        for call in calls:
            (tool,) = (each for each in case.tools if each["name"] == call.name)
            jsonschema.validate(dict(call.arguments), tool["parameters"])
        assert case.problem([*calls[1:], Call("another", calls[0].arguments)]) is not None


def right_call(answer: Mapping[str, Any]) -> Call:
    ((name, allowed),) = answer.items()
    arguments = {key: chosen(o) for key, o in allowed.items() if any(x != "" for x in o)}
    return Call(safe_name(name), arguments)


def test_of_several_calls_each_must_be_right_once() -> None:
    answer = [{"f": {"a": [1]}}, {"f": {"a": [1, 2]}}]
    described = [function(a=INTEGER)]
    one, two = Call("f", {"a": 1}), Call("f", {"a": 2})
    assert mismatch([two, one], described, answer) is None
    assert mismatch([two, two], described, answer) == "no call is {'f': {'a': [1]}}"
    assert mismatch([one], described, answer) == "1 calls instead of 2"


def test_where_no_function_fits_no_call_is_right() -> None:
    case = cases("irrelevance", limit=1)[0]
    assert case.problem([]) is None
    assert case.problem([Call(case.tools[0]["name"], {})]) is not None


def test_types_become_those_of_json_schema() -> None:
    described = {
        "type": "dict",
        "properties": {"a": {"type": "tuple", "items": {"type": "float"}, "optional": True}},
        "required": ["a"],
    }
    assert json_schema(described) == {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "number"}, "maxItems": 20}},
        "required": ["a"],
        "additionalProperties": False,
    }


def test_a_dict_without_properties_has_plain_values_only() -> None:
    schema = json_schema({"type": "dict", "required": ["x"]})
    jsonschema.validate({"x": ["a"], "y": True}, schema)
    assert not jsonschema.Draft202012Validator(schema).is_valid({"x": {"x": 1}})


def test_texts_are_bounded_but_not_those_that_are_listed() -> None:
    assert json_schema({"type": "any"}) == {"type": "string", "maxLength": 120}
    assert json_schema({"type": "string", "enum": ["a"]}) == {"type": "string", "enum": ["a"]}


def test_the_sample_is_small_and_says_where_it_comes_from() -> None:
    assert sum(p.stat().st_size for p in SAMPLE.rglob("*") if p.is_file()) < MAX_SAMPLE_BYTES
    assert "Apache License 2.0" in (SAMPLE / "README.md").read_text()
