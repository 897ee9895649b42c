"""How long a pattern is when its repeats are written out: `(ab{3}){100}` is 400.

Masks of `a{1000000}` take seconds of the engine's thread, so patterns are bounded before they are
compiled. Syntax is only skimmed: a wrong pattern gets some size, and its error from the compiler.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_PATTERN_SIZE = 20_000  # some tens of milliseconds for a mask

_PIECE = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<open>\()|(?P<close>\))|\{(?P<least>\d+)(?:,(?P<most>\d*))?\}|.",
    re.DOTALL,
)


def pattern_size(pattern: str) -> int:
    """Atoms of a pattern, each as often as it is repeated at least or at most."""
    sizes, last = [0], 0  # of the open groups, and of what a repeat would repeat
    for piece in _PIECE.finditer(pattern):
        if piece["open"]:
            sizes.append(0)
        elif piece["close"] and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif piece["least"]:
            times = max(_count(piece["least"]), _count(piece["most"] or "0"), 1)
            sizes[-1] += last * (times - 1)
            last *= times
        else:
            last = 1
            sizes[-1] += last
    return sum(sizes)


def patterns_of(schema: str) -> Iterator[str]:
    """All patterns in a JSON schema; of a text that is no JSON, none."""
    try:
        yield from _patterns_in(json.loads(schema))
    except (ValueError, RecursionError):  # the compiler's to tell
        return


def _patterns_in(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(pattern := part.get("pattern"), str):
            yield pattern
        if isinstance(named := part.get("patternProperties"), dict):
            yield from named
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _patterns_in(inner)


def _count(digits: str) -> int:
    return int(digits[:10])
