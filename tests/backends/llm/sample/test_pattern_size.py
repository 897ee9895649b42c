"""How long patterns are with their repeats written out."""

import json
from typing import Any

import pytest

from backends.errors import RequestRejected
from backends.llm.sample.pattern_size import MAX_PATTERN_SIZE, pattern_size, patterns_of


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("abc", 3),
        ("a{3}", 3),
        ("a{2,5}b", 6),
        ("a{7,}", 7),
        ("(ab{3}){100}", 400),
        ("(a{1000}){1000}", 1_000_000),
        ("((a{10}){10}){10}x", 1001),
        (r"\({5}", 5),
        (r"[({\]{9}]{4}", 4),
        (r"(\d{1,3}\.){3}\d{1,3}", 15),
        ("a{0}", 1),
        ("))((", 2),
        ("a{b}", 4),
        ("a{" + "9" * 50 + "}", 9_999_999_999),
    ],
)
def test_a_repeat_counts_as_often_as_it_repeats(pattern: str, size: int) -> None:
    assert pattern_size(pattern) == size


def test_patterns_are_found_wherever_a_schema_has_them() -> None:
    inner = {"type": "string", "pattern": "b"}
    schema = {
        "pattern": "a",
        "anyOf": [inner, {"items": inner}],
        "patternProperties": {"c": {"pattern": "d"}},
        "properties": {"pattern": {"pattern": "e"}},
    }
    assert sorted(patterns_of(json.dumps(schema))) == ["a", "b", "b", "c", "d", "e"]
    assert list(patterns_of("{")) == []


LONG = f"x(a{{{MAX_PATTERN_SIZE}}}){{2}}"


@pytest.mark.parametrize(
    ("kind", "wrong"), [("regex", LONG), ("schema", {"type": "string", "pattern": LONG})]
)
def test_a_pattern_that_is_too_long_is_refused_before_it_is_compiled(
    tiny: Any, kind: str, wrong: Any
) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    with pytest.raises(RequestRejected, match=f"^{kind} has the pattern"):
        driver.submit("decode", context, **{kind: wrong})


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("schema", {"$ref": "#"}),
        (
            "schema",
            {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}},
        ),
        ("regex", r"[^\s\S]"),
    ],
)
def test_a_grammar_that_cannot_be_followed_is_the_callers_fault_whenever_it_shows(
    tiny: Any, kind: str, wrong: Any
) -> None:
    driver = tiny.driver()
    context = driver.prefill(None, "abc")
    try:
        outcome = driver.run(driver.submit("decode", context, max_tokens=20, **{kind: wrong}))
    except RequestRejected as refused:
        outcome = [refused]
    (failed,) = outcome
    assert isinstance(failed, RequestRejected)
    assert str(failed).startswith(f"{kind} cannot be followed: ")
    assert "NoExtensionBias" not in str(failed)
    driver.core.check_integrity()
