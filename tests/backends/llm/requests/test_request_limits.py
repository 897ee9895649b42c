"""Every field of a request has a bound; what is beyond is refused with field, size and bound."""

from typing import Any

import pytest

from backends.base import Turn
from backends.errors import RequestRejected
from backends.request_limits import (
    MAX_BIASES,
    MAX_CHOICES,
    MAX_CHOICES_CHARS,
    MAX_COUNT,
    MAX_LEVELS,
    MAX_NAME_CHARS,
    MAX_PARTS,
    MAX_REGEX_CHARS,
    MAX_SCHEMA_CHARS,
    MAX_STOP_CHARS,
    MAX_STOP_TOKEN_IDS,
    MAX_STOPS,
    MAX_TOOLS,
    MAX_TOOLS_CHARS,
)


def deep(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


TOOL = {"name": "t", "description": "x" * MAX_TOOLS_CHARS}
REFUSED = [
    ({"stop": ["x"] * (MAX_STOPS + 1)}, f"stop has {MAX_STOPS + 1} items; at most {MAX_STOPS}"),
    ({"stop": "x" * (MAX_STOP_CHARS + 1)}, f"stop string has 257 .*at most {MAX_STOP_CHARS}"),
    ({"stop_token_ids": [1] * (MAX_STOP_TOKEN_IDS + 1)}, "stop_token_ids has 257 items"),
    ({"logit_bias": dict.fromkeys(range(MAX_BIASES + 1), 0.0)}, "logit_bias has 1025 items"),
    ({"choices": ["x"] * (MAX_CHOICES + 1)}, "choices has 1025 items"),
    ({"choices": ["x" * (MAX_CHOICES_CHARS + 1)]}, "choices has 65537 characters together"),
    ({"schema": " " * (MAX_SCHEMA_CHARS + 1)}, "schema has 262145 characters"),
    ({"schema": {"const": "x" * MAX_SCHEMA_CHARS}}, r"schema has \d+ characters"),
    ({"schema": deep(20_000)}, f"schema is nested deeper than {MAX_LEVELS} levels"),
    ({"regex": "x" * (MAX_REGEX_CHARS + 1)}, "regex has 16385 characters"),
    ({"max_tokens": MAX_COUNT + 1}, "max_tokens must be at most 2147483647"),
    ({"min_tokens": MAX_COUNT + 1}, "min_tokens must be at most 2147483647"),
    ({"top_k": MAX_COUNT + 1}, "top_k must be at most 2147483647"),
    ({"seed": 1 << 70}, "seed must lie between"),
    ({"n": 129}, "n must lie in 1 to 128"),
    ({"logprobs": 21}, "logprobs must lie in 0 to 20"),
    ({"cache_salt": "x" * (MAX_NAME_CHARS + 1)}, "cache_salt has 1025 characters"),
    ({"adapter": "x" * (MAX_NAME_CHARS + 1)}, "adapter has 1025 characters"),
    ({"tools": [{"name": f"t{i}"} for i in range(MAX_TOOLS + 1)]}, "tools has 129 items"),
    ({"tools": [TOOL]}, r"tools has \d+ characters together; at most 262144"),
]


@pytest.mark.parametrize(
    ("attrs", "message"), REFUSED, ids=[message[:24] for _, message in REFUSED]
)
def test_a_field_beyond_its_bound_is_refused_by_name(
    tiny: Any, attrs: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestRejected, match=message):
        tiny.driver().decode(None, "abc", **attrs)


def test_fields_at_their_bounds_pass(tiny: Any) -> None:
    stops = [f"{i:02d}" * (MAX_STOP_CHARS // 2) for i in range(MAX_STOPS)]
    biases = dict.fromkeys(range(259), 0.0)
    result = tiny.driver().decode(
        None, "abc", stop=stops, logit_bias=biases, max_tokens=3, seed=-(1 << 63)
    )
    assert result.outputs


def test_a_select_of_too_many_choices_is_refused(tiny: Any) -> None:
    driver = tiny.driver()
    with pytest.raises(RequestRejected, match="choices has 1025 items; at most 1024"):
        driver.call("select", driver.prefill(None, "abc"), ["x"] * (MAX_CHOICES + 1))


def test_a_prompt_of_too_many_parts_is_refused(tiny: Any) -> None:
    with pytest.raises(RequestRejected, match=f"a prompt has {MAX_PARTS + 1} parts"):
        tiny.driver().prefill(None, *[Turn("user")] * (MAX_PARTS + 1))
