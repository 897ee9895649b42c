"""Sampling parameters of one decode, validated once on arrival."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, cast

from backends.errors import RequestRejected
from backends.request_limits import (
    MAX_BIASES,
    MAX_CHOICES,
    MAX_CHOICES_CHARS,
    MAX_COUNT,
    MAX_REGEX_CHARS,
    MAX_SCHEMA_CHARS,
    MAX_STOP_CHARS,
    MAX_STOP_TOKEN_IDS,
    MAX_STOPS,
    SEED_END,
    check_levels,
    check_size,
)

MAX_LOGPROBS = 20
MAX_SAMPLES = 128
MAX_NUMBER = 1e30  # what is computed with logits; beyond it float32 overflows
_INTS = ("max_tokens", "min_tokens", "top_k", "seed", "logprobs", "n")
_NUMBERS = (
    "temperature",
    "top_p",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)


_MOST_ITEMS = {
    "stop": MAX_STOPS,
    "stop_token_ids": MAX_STOP_TOKEN_IDS,
    "logit_bias": MAX_BIASES,
    "choices": MAX_CHOICES,
}


class GrammarSource(NamedTuple):
    """What an output must match, as it is compiled."""

    kind: Literal["schema", "regex", "choices", "tools"]
    text: str  # a pattern; Lark for tools; JSON for the others


@dataclass(frozen=True, slots=True)
class Sampling:
    """The attributes of a decode request (`backends.base.Request`)."""

    max_tokens: int = 256
    min_tokens: int = 0
    temperature: float = 0.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int | None = None  # None: all tokens
    min_p: float = 0.0  # of the likeliest token's probability
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None  # None: a fresh one each time
    schema: str | None = None  # JSON schema, as JSON
    regex: str | None = None
    choices: tuple[str, ...] | None = None
    logprobs: int | None = None  # likeliest tokens to report at each place
    n: int = 1
    speculate: bool | None = None  # guess tokens ahead; None: where it pays

    def __post_init__(self) -> None:
        _require(self.max_tokens >= 1, "max_tokens must be at least 1")
        _require(self.min_tokens >= 0, "min_tokens must not be negative")
        _require_counts(self)
        _require(self.temperature >= 0, "temperature must not be negative")
        _require_between("temperature", self.temperature, 0, MAX_NUMBER)
        _require(0 < self.top_p <= 1, "top_p must lie in (0, 1]")
        _require(self.top_k is None or self.top_k >= 1, "top_k must be at least 1")
        _require(0 <= self.min_p <= 1, "min_p must lie in [0, 1]")
        _require(self.repetition_penalty > 0, "repetition_penalty must be above 0")
        _require_between("repetition_penalty", self.repetition_penalty, 1 / MAX_NUMBER, MAX_NUMBER)
        _require_between("presence_penalty", self.presence_penalty, -MAX_NUMBER, MAX_NUMBER)
        _require_between("frequency_penalty", self.frequency_penalty, -MAX_NUMBER, MAX_NUMBER)
        for token, bias in self.logit_bias.items():
            _require_between(f"logit_bias of token {token}", bias, -MAX_NUMBER, MAX_NUMBER)
        _require(all(self.stop), "a stop string must not be empty")
        _require_sizes(self)
        _require(self.choices is None or len(self.choices) > 0, "choices must not be empty")
        _require(1 <= self.n <= MAX_SAMPLES, f"n must lie in 1 to {MAX_SAMPLES}")
        logprobs = self.logprobs or 0
        _require(0 <= logprobs <= MAX_LOGPROBS, f"logprobs must lie in 0 to {MAX_LOGPROBS}")
        grammars = [self.schema, self.regex, self.choices]
        num_grammars = sum(grammar is not None for grammar in grammars)
        _require(num_grammars <= 1, "give one of schema, regex and choices")
        is_free = not (self.min_tokens and num_grammars)
        _require(is_free, "min_tokens does not go with schema, regex or choices: they say the end")

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0

    @property
    def is_truncated(self) -> bool:
        """Unlikely tokens are cut off before one is drawn."""
        return self.top_p < 1 or self.top_k is not None or self.min_p > 0

    @property
    def has_penalties(self) -> bool:
        penalties = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty - 1)
        return any(penalties)

    @property
    def grammar(self) -> GrammarSource | None:
        if self.schema is not None:
            return GrammarSource("schema", self.schema)
        if self.regex is not None:
            return GrammarSource("regex", self.regex)
        if self.choices is not None:
            return GrammarSource("choices", json.dumps(self.choices))
        return None


def _require_counts(sampling: Sampling) -> None:
    for name in ("max_tokens", "min_tokens", "top_k"):
        value = getattr(sampling, name)
        _require(value is None or value <= MAX_COUNT, f"{name} must be at most {MAX_COUNT}")
    is_seed = sampling.seed is None or -SEED_END < sampling.seed < SEED_END
    _require(is_seed, f"seed must lie between -{SEED_END} and {SEED_END}")


def _require_sizes(sampling: Sampling) -> None:
    for name, most in _MOST_ITEMS.items():
        check_size(name, len(getattr(sampling, name) or ()), most, "items")
    check_size("a stop string", _longest(sampling.stop), MAX_STOP_CHARS, "characters")
    check_size("schema", len(sampling.schema or ""), MAX_SCHEMA_CHARS, "characters")
    check_size("regex", len(sampling.regex or ""), MAX_REGEX_CHARS, "characters")
    check_choices(sampling.choices or ())


def check_choices(choices: Sequence[str]) -> None:
    """Raises RequestRejected for too many, or too much text."""
    check_size("choices", len(choices), MAX_CHOICES, "items")
    check_size("choices", sum(map(len, choices)), MAX_CHOICES_CHARS, "characters together")


def _longest(strings: Sequence[str]) -> int:
    return max(map(len, strings), default=0)


def sampling_from(attrs: Mapping[str, Any]) -> Sampling:
    """Attributes as given by a user; None means the default. Raises RequestRejected."""
    given = {name: value for name, value in attrs.items() if value is not None}
    unknown = sorted(given.keys() - Sampling.__dataclass_fields__.keys())
    if unknown:
        known = ", ".join(Sampling.__dataclass_fields__)
        raise RequestRejected(f"decode has no attribute {unknown[0]!r}; it has: {known}")
    _check_lengths(given)
    for name in _INTS:
        _require_type(given, name, (int,))
    for name in _NUMBERS:
        _require_type(given, name, (int, float))
    _require(isinstance(given.get("regex", ""), str), "regex must be a string")
    for name in ("ignore_eos", "speculate"):
        _require(isinstance(given.get(name, True), bool), f"{name} must be true or false")
    if "stop" in given:
        given["stop"] = _strings("stop", given["stop"])
    if "choices" in given:
        _require(not isinstance(given["choices"], str), "choices must be a list of strings")
        given["choices"] = _strings("choices", given["choices"])
    if "stop_token_ids" in given:
        given["stop_token_ids"] = _token_ids(given["stop_token_ids"])
    if "logit_bias" in given:
        given["logit_bias"] = _bias(given["logit_bias"])
    if "schema" in given:
        given["schema"] = _schema_text(given["schema"])
    return Sampling(**given)


def _check_lengths(given: Mapping[str, Any]) -> None:
    """Of lists, before anything looks at each item."""
    for name, most in _MOST_ITEMS.items():
        value = given.get(name)
        if isinstance(value, list | tuple | Mapping):
            check_size(name, len(value), most, "items")


def _strings(name: str, value: object) -> tuple[str, ...]:
    strings = (value,) if isinstance(value, str) else value
    if not isinstance(strings, list | tuple) or not all(isinstance(s, str) for s in strings):
        raise RequestRejected(f"{name} must be a string or a list of strings")
    return tuple(strings)


def _token_ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(type(i) is int for i in value):
        raise RequestRejected("stop_token_ids must be a list of token ids")
    return tuple(value)


def _bias(value: object) -> dict[int, float]:
    wrong = RequestRejected("logit_bias must map token ids to finite numbers")
    if not isinstance(value, Mapping):
        raise wrong
    try:
        bias = {int(token): float(number) for token, number in value.items()}  # JSON: str keys
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if not all(map(math.isfinite, bias.values())):
        raise wrong
    return bias


def _schema_text(schema: object) -> str:
    if isinstance(schema, str):
        return schema
    check_levels("schema", schema)
    try:
        return json.dumps(schema, sort_keys=False)
    except (TypeError, ValueError) as error:
        raise RequestRejected(f"schema is not JSON: {error}") from error


def _require_type(given: Mapping[str, Any], name: str, types: tuple[type, ...]) -> None:
    value = given.get(name, types[0]())
    if not isinstance(value, types) or isinstance(value, bool):
        expected = " or ".join(t.__name__ for t in types)
        raise RequestRejected(f"{name} must be {expected}, not {value!r}")
    _require(isinstance(value, int) or math.isfinite(cast(float, value)), f"{name} must be finite")


def _require_between(name: str, value: float, low: float, high: float) -> None:
    _require(low <= value <= high, f"{name} must lie in {low:g} to {high:g}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RequestRejected(message)
