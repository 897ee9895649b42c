"""Where in a client's body something is wrong.

Pydantic's place has parts that no client wrote: names of the forms that a field may have, tags of
items, and indices of lists that were made around a single value. Here they are left out:

    {"prompt": ["a", {"type": "text"}]}
    ("prompt", "list[list[PromptPart]]", 0, 1, "text", "text")   is prompt.1.text
"""

from collections.abc import Mapping, Sequence
from typing import Any

_NOTHING = object()


def path_of(error: Mapping[str, Any], body: object) -> list[str]:
    """The place of an error of pydantic, with its input, in the body that was read."""
    *before, last = error["loc"] or ("",)
    if error["type"] == "missing":
        return [*_way_to(error["input"], before, body), str(last)]
    return _way_to(error["input"], error["loc"], body) or [str(part) for part in error["loc"][:1]]


def _way_to(wrong: object, loc: Sequence[int | str], body: object) -> list[str]:
    """The way through the body to the very value that is wrong; without one the longest."""
    reached: dict[int, tuple[object, list[str]]] = {id(body): (body, [])}
    for part in loc:
        for value, way in [*reached.values()]:
            inner = _inside(value, part)
            if inner is not _NOTHING and len(way) >= len(reached.get(id(inner), (0, ()))[1]):
                reached[id(inner)] = (inner, [*way, str(part)])
    if id(wrong) in reached:
        return reached[id(wrong)][1]
    return max((way for _, way in reached.values()), key=len)


def _inside(value: object, part: int | str) -> object:
    if isinstance(value, Mapping):
        return value.get(str(part), _NOTHING)
    if isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
        return value[part]
    return _NOTHING
