"""How one decode picks its tokens, checked once at the door."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.errors import RequestRejected


@dataclass(frozen=True, slots=True)
class Sampling:
    """The attributes of a decode request."""

    max_tokens: int = 256
    temperature: float = 0.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int | None = None  # None: all tokens
    stop: tuple[str, ...] = ()
    seed: int | None = None  # None: a fresh one each time
    schema: str | None = None  # JSON schema, as JSON

    def __post_init__(self) -> None:
        _require(self.max_tokens >= 1, "max_tokens must be at least 1")
        _require(self.temperature >= 0, "temperature must not be negative")
        _require(0 < self.top_p <= 1, "top_p must lie in (0, 1]")
        _require(self.top_k is None or self.top_k >= 1, "top_k must be at least 1")
        _require(all(self.stop), "a stop string must not be empty")

    @property
    def is_truncated(self) -> bool:
        """Unlikely tokens are cut off before one is drawn."""
        return self.top_p < 1 or self.top_k is not None


def sampling_from(attrs: Mapping[str, Any]) -> Sampling:
    """Attributes as given by a user; None means the default. Raises RequestRejected."""
    given = {name: value for name, value in attrs.items() if value is not None}
    unknown = sorted(given.keys() - Sampling.__dataclass_fields__.keys())
    if unknown:
        known = ", ".join(Sampling.__dataclass_fields__)
        raise RequestRejected(f"decode has no attribute {unknown[0]!r}; it has: {known}")
    for name in ("max_tokens", "top_k", "seed"):
        _require_type(given, name, (int,))
    for name in ("temperature", "top_p"):
        _require_type(given, name, (int, float))
    if "stop" in given:
        given["stop"] = _stop_strings(given["stop"])
    if "schema" in given:
        given["schema"] = _schema_text(given["schema"])
    return Sampling(**given)


def _stop_strings(stop: object) -> tuple[str, ...]:
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, list | tuple) or not all(isinstance(s, str) for s in strings):
        raise RequestRejected("stop must be a string or a list of strings")
    return tuple(strings)


def _schema_text(schema: object) -> str:
    if isinstance(schema, str):
        return schema
    try:
        return json.dumps(schema, sort_keys=False)
    except (TypeError, ValueError) as error:
        raise RequestRejected(f"schema is not JSON: {error}") from error


def _require_type(given: Mapping[str, Any], name: str, types: tuple[type, ...]) -> None:
    value = given.get(name, types[0]())
    if not isinstance(value, types) or isinstance(value, bool):
        expected = " or ".join(t.__name__ for t in types)
        raise RequestRejected(f"{name} must be {expected}, not {value!r}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RequestRejected(message)
