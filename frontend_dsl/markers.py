"""The marker that a symbolic value leaves in an f-string, and how a changed one is known.

A marker is whole or it is nothing: it holds every character that a text function may look for, and
secret ones of this process between them, so whatever cuts, escapes, replaces or re-cases the text
spoils it, and any piece of it is still found. Only two changes are understood: `textwrap.dedent`
takes indentation away inside it, and `strip()` takes away its edge, which says that the value
itself is to be stripped. Nobody outside can write a marker, since its characters are drawn anew
for each process.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

Side = Literal["left", "right", "both"]


def _drawn(count: int) -> list[str]:
    """So many different characters for private use, of ranges that no known font uses."""
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        number = int.from_bytes(os.urandom(2), "big")
        chosen[chr(0xF4000 + number if number < 0x8000 else 0x100000 + number)] = None
    return list(chosen)


def _shuffled(chars: str) -> list[str]:
    return sorted(chars, key=lambda _: os.urandom(8))


_START, _END, *_DIGITS = _drawn(18)
_EDGE = "".join(_shuffled("\x1c\x1d\x1e\x1f\x1c\x1d"))  # white space to strip(), in no real text
_INDENT, _LEAST_INDENT = 64, 8  # more than a text block is indented; what must be left of it
_NOT_INSIDE = "%{}$"  # what templates of Python put values in for
_SEARCHED = "".join(map(chr, range(32, 127))) + "\x0b"  # \x0b is white space and ends lines
_CHARS = [char for char in _shuffled(_SEARCHED) if char not in _NOT_INSIDE]
_BODY = "".join(char + _DIGITS[os.urandom(1)[0] % 16] for char in _CHARS)
_MARK = re.compile(
    f"(?P<left>{_EDGE})?{_START}(?P<number>[{''.join(_DIGITS)}]{{8}}){re.escape(_BODY)}"
    f"\n {{{_LEAST_INDENT},{_INDENT}}}{_END}(?P<right>{_EDGE})?"
)
_HIDDEN = "".join(chr(0x200B + os.urandom(1)[0] % 3) for _ in range(24))  # has no width on screens

_SIGN = re.compile(r"[\u200b-\u200d]{4,}(?:\.{3}[\u200b-\u200d]*)?")


@dataclass(frozen=True, slots=True)
class Mark:
    """A whole marker in a text."""

    start: int
    end: int
    number: int
    stripped: Side | None  # the side from which strip() took the edge


def mark(number: int) -> str:
    """The marker of the value of this number."""
    digits = "".join(_DIGITS[int(digit, 16)] for digit in f"{number:08x}")
    return f"{_EDGE}{_START}{digits}{_BODY}\n{' ' * _INDENT}{_END}{_EDGE}"


def find_marks(text: str) -> Iterator[Mark]:
    """The whole markers of a text, in order."""
    if _START not in text:
        return
    for found in _MARK.finditer(text):
        has_left, has_right = found["left"] is not None, found["right"] is not None
        cut_left = not has_left and text.endswith(_EDGE[-1], 0, found.start())
        cut_right = not has_right and text.startswith(_EDGE[0], found.end())
        if cut_left or cut_right:
            continue  # a part of the edge is gone: no strip() does that
        side: Side | None = None if has_left and has_right else "both"
        if has_left != has_right:
            side = "right" if has_left else "left"
        number = int("".join(f"{_DIGITS.index(digit):x}" for digit in found["number"]), 16)
        yield Mark(found.start(), found.end(), number, side)


def unprintable(text: str) -> str:
    """The text with a hidden sign by which it is refused wherever a real text should stand."""
    return _HIDDEN + text


def without_sign(text: str) -> str:
    """The text for people, without that hidden sign, of which the middle may be cut out."""
    return _SIGN.sub("", text)


def is_spoilt(text: str) -> bool:
    """Whether a text, without its whole markers, holds a piece of one, also an escaped piece."""
    if any(piece in text for piece in _PIECES):
        return True
    if any(first in text and any(sign in text for sign in _SIGNS[first]) for first in _SIGNS):
        once = re.sub(r"\\+", r"\\", text.replace("%25", "%"))  # what was escaped several times
        if _escaped().search(once) is not None:
            return True
    letters = text.encode("ascii", "ignore").translate(_LOWER, _NO_LETTERS)
    return any(piece in letters for piece in _LETTERS)  # all that is left of one in a "slug"


_PIECES = (_HIDDEN, _EDGE[:2], _EDGE[-2:], _START, _END, *_DIGITS)
_SIGNS = {  # how the characters of `_drawn` and `_HIDDEN` begin when they are escaped
    "\\": tuple(
        f"\\{sign}"
        for sign in ["ud", "uD", "UD", "u2", "U2", "U0", "u0", "u{", "U{", "xf", "xF", "Xf", "XF"]
    ),
    "%": ("%f", "%F", "%25"),
    "=": ("=f", "=F"),
    "&": ("&#",),
}
_LOWER = bytes(range(256)).lower()
_NO_LETTERS = bytes(code for code in range(256) if not bytes([code]).isalpha())
_BODY_LETTERS = _BODY.encode("ascii", "ignore").translate(_LOWER, _NO_LETTERS)
_LETTERS = (_BODY_LETTERS[:20], _BODY_LETTERS[-20:])


@cache
def _escaped() -> re.Pattern[str]:
    """What JSON, Python, URLs, HTML and bytes make of the secret characters."""
    secret = [_START, _END, *_DIGITS]
    forms = {form for char in secret for form in _escapes(char)}
    forms.add("".join(map(_json_escape, _HIDDEN)))
    return re.compile("|".join(map(re.escape, sorted(forms))), re.IGNORECASE | re.ASCII)


def _escapes(char: str) -> Sequence[str]:
    point = ord(char)
    octets = [f"{octet:02x}" for octet in char.encode()]
    return (
        _json_escape(char),
        f"\\U{point:08x}",
        f"\\u{{{point:x}}}",
        f"&#{point};",
        f"&#x{point:x};",
        *(sign + sign.join(octets) for sign in ("%", "\\x", "=")),
    )


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
