"""What is made of a text that a semantic function wrote: `tl.transforms`.

A transform computes only: it has no effects, and its result may be remembered.
"""

import json
import re as regular
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from frontend_dsl.callables import name_of
from frontend_dsl.declared_types import field_of, type_name
from frontend_dsl.errors import TraceError
from frontend_dsl.tools import Tool, tool
from frontend_dsl.tracer import tracing
from frontend_dsl.where import user_frame

__all__ = ["Transform", "custom", "json_field", "regex", "split", "strip"]


@dataclass(frozen=True, slots=True)
class Transform:
    """A step from a value of the app to another; `wanted` is the declared type of its result."""

    name: str
    apply: Callable[[Any, Any], Any]  # a value, wanted

    def __call__(self, value: Any, wanted: Any = Any) -> Any:
        return self.apply(value, wanted)


def strip() -> Transform:
    """The text without white space at its ends."""
    return Transform("strip", lambda value, _: tracing("strip").emit_strip(value, "both"))


def regex(pattern: str, group: int | str | None = None) -> Transform:
    """What a pattern finds first: its group, by default the first one, or all that it matches.

    A text in which it finds nothing fails the call. Raises ValueError for what is no pattern.
    """
    try:
        compiled = regular.compile(pattern)
    except regular.error as error:
        raise ValueError(f"regex({pattern!r}) is no regular expression: {error}") from None
    wanted = group if group is not None else min(1, compiled.groups)
    return Transform("regex", lambda value, _: _found(value, pattern, wanted))


def split(separator: str = "\n") -> Transform:
    """The parts between separators, without white space at their ends, none empty."""
    if not separator:
        raise ValueError("split() needs a separator")
    return Transform("split", lambda value, _: _parts(value, separator))


def json_field(name: str) -> Transform:
    """A field of the JSON object that was written, or of the model that it was parsed to.

    Elements of a field that is a list are used one by one while the model writes, where the output
    has a model as its type: `tl.Output(Queries, transform=tl.transforms.json_field("queries"))`.
    A text without such an object or field fails the call.
    """

    def apply(value: Any, wanted: Any) -> Any:
        if value._type is str:
            return _json_field(value, name, wanted)
        type_ = field_of(value._type, name)
        if type_ is None:
            problem = f"json_field({name!r}): {type_name(value._type)} has no such field"
            raise TraceError(problem, *user_frame())
        return tracing("json_field").emit_get(value, name, type_)

    return Transform(f"json_field_{name}", apply)


def custom(function: Callable[..., Any]) -> Transform:
    """What a function of one argument gives. It is taken to be pure; a tl.tool is what it says."""
    made = function if isinstance(function, Tool) else Tool(function, pure=True)
    return Transform(name_of(function), lambda value, _: made(value))


def as_transform(given: Any) -> Transform:
    """Raises TypeError for what is no transform and no function."""
    if isinstance(given, Transform):
        return given
    if not callable(given):
        raise TypeError(f"transform= takes tl.transforms or functions, not {given!r}")
    return custom(given)


@tool(pure=True, name="regex")
def _found(text: str, pattern: str, group: int | str) -> str:
    found = regular.search(pattern, text)
    if found is None:
        raise ValueError(f"{pattern!r} finds nothing in {text!r}")
    return found[group] or ""


@tool(pure=True, name="split")
def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


@tool(pure=True, name="json_field")
def _json_field(text: str, name: str, wanted: Any) -> Any:
    from pydantic import TypeAdapter  # late: it would double teola's import time

    found = _first_object(text)
    if name not in found:
        raise ValueError(f"the JSON object has no field {name!r}; it has {', '.join(found)}")
    return TypeAdapter(wanted).validate_python(found[name])


def _first_object(text: str) -> dict[str, Any]:
    decoder = json.JSONDecoder()
    for start in (found.start() for found in regular.finditer(r"\{", text)):
        try:
            value, _ = decoder.raw_decode(text, start)
        except ValueError:
            continue
        return dict(value)
    raise ValueError(f"no JSON object stands in {text!r}")
