"""What a model is to write: a type, a JSON schema, one of some texts, or what a pattern matches."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from frontend_dsl.answer_length import enough_tokens
from frontend_dsl.sampling import Sampling, sampling_attrs
from frontend_dsl.schema import given_schema, json_schema
from graph_opt.graph import Json

END_TOKENS = 8  # beside the text: the end of the turn, and what a tokenizer cuts oddly


@dataclass(frozen=True, slots=True)
class Form:
    """What a model is to write, and how."""

    out: Any  # the type of the answer
    held_to: Mapping[str, Json]  # the attr of the decode that holds it to a form; {}: free text
    sampling: Mapping[str, Json]  # the other attrs of the decode
    retries: int = 0  # how often it is asked again for a value of the type

    @property
    def is_parsed(self) -> bool:
        """Whether the text is the JSON of a value."""
        return "schema" in self.held_to

    def resampled(self, sampling: Sampling) -> "Form":
        """The same with other sampling."""
        return replace(self, sampling=sampling_attrs(_enough(self.held_to), **sampling))


def form_of(
    out: Any = str,
    *,
    choices: Sequence[str] | None = None,
    regex: str | None = None,
    retries: int = 0,
    **sampling: Unpack[Sampling],
) -> Form:
    """Raises TypeError or ValueError for what no model can be held to."""
    if sum((out is not str, choices is not None, regex is not None)) > 1:
        raise TypeError("give one of out=, choices= and regex=: each says what the answer is")
    held_to = _held_to(out, choices, regex)
    _check_retries(retries, held_to)
    is_given = isinstance(out, Mapping)
    attrs = sampling_attrs(_enough(held_to), **sampling)
    return Form(Any if is_given else out, held_to, attrs, retries)


def _held_to(out: Any, choices: Sequence[str] | None, regex: str | None) -> dict[str, Json]:
    if choices is not None:
        return {"choices": _checked_choices(choices)}
    if regex is not None:
        return {"regex": _checked_regex(regex)}
    if isinstance(out, Mapping):
        return {"schema": given_schema(out)}
    return {} if out is str else {"schema": json_schema(out)}


def _checked_choices(choices: Sequence[str]) -> list[Json]:
    texts = [] if isinstance(choices, str) else list(choices)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise TypeError(f"choices= must be a list of texts, none empty; got {choices!r}")
    if len(set(texts)) < len(texts):
        raise ValueError(f"choices= names a text twice: {choices!r}")
    return [*texts]


def _checked_regex(regex: str) -> str:
    try:
        re.compile(regex)
    except (re.error, TypeError) as error:
        raise ValueError(f"regex={regex!r} is no regular expression: {error}") from None
    return regex


def _check_retries(retries: int, held_to: Mapping[str, Json]) -> None:
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(
            f"retries= of @tl.prompt must be a whole number, 0 or more; got {retries!r}"
        )
    if retries and "schema" not in held_to:
        raise TypeError("retries= of @tl.prompt needs out=: a text cannot be invalid")


def _enough(held_to: Mapping[str, Json]) -> int | None:
    """So many tokens that any answer of the form ends; None where none are enough."""
    choices = held_to.get("choices")
    if isinstance(choices, list):
        return END_TOKENS + max(len(str(choice).encode()) for choice in choices)
    found = enough_tokens(held_to["schema"]) if "schema" in held_to else None
    return None if found is None else END_TOKENS + found
