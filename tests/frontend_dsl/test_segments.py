"""Which arguments of an `async def` app's calls are one input of a segment's graph."""

from typing import Any

import pytest
from pydantic import BaseModel

from frontend_dsl.segments import SegmentTracer, identity
from frontend_dsl.symbols import Symbols


class Note(BaseModel):
    text: str


def tracer(**names: Any) -> SegmentTracer:
    known = {identity(value): name for name, value in names.items()}
    made = SegmentTracer(Symbols({}), ("app.py", 1), known, lambda: made, object(), [])
    return made


def inputs_of(given: SegmentTracer, *values: Any) -> list[str]:
    with given.active():
        params = [given.given(value) for value in values]
    return [param._name for param in params if param is not None]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "a"),
        ([1, "a"], [1, "a"]),
        ({"a": (1, 2)}, {"a": (1, 2)}),
        (float("nan"), float("nan")),
    ],
)
def test_values_that_are_the_same_to_everybody_are_one_input(one: Any, other: Any) -> None:
    first, second = inputs_of(tracer(), one, other)
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ([True], [1]),
        ({"a": 1}, [("a", 1)]),
        ("1", 1),
        (None, False),
        (Note(text="a"), Note(text="a")),  # which one of them may change
    ],
)
def test_values_that_somebody_can_tell_apart_are_two_inputs(one: Any, other: Any) -> None:
    first, second = inputs_of(tracer(), one, other)
    assert first != second


def test_an_argument_of_the_app_has_its_name_and_what_else_is_given_another() -> None:
    assert inputs_of(tracer(topic="tea"), "tea", "milk") == ["topic", "given"]


def test_an_input_is_the_value_as_it_was_when_it_was_given() -> None:
    made, history = tracer(), [{"role": "user"}]
    inputs_of(made, history)
    history[0]["role"] = "assistant"
    history.append({})
    assert made.cut("segment", ())[2] == {"given": [{"role": "user"}]}


def test_what_was_cut_takes_its_inputs_with_it() -> None:
    made = tracer()
    inputs_of(made, "tea")
    assert made.cut("segment", ())[2] == {"given": "tea"}
    assert made.inputs == {}
    assert inputs_of(made, "tea") != []
    assert list(made.inputs.values()) == ["tea"]
