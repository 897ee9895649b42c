"""From the text that a server writes to the output that was asked for, piece by piece.

Where a server holds answers to JSON objects only, a list or a choice comes inside one:
`{"answer": [1, 2]}` is read as `[1, 2]`, while it is written.
"""

import json
import re
from collections.abc import Callable
from typing import Protocol

KEY = "answer"
_OPENING = re.compile(r'\s*\{\s*"' + KEY + r'"\s*:\s*')
_CLOSING = re.compile(r"[\s}]*\Z")


class Unwrapping(Protocol):
    """Reads one answer."""

    def feed(self, text: str) -> str:
        """What is certain of the output now and was not before."""

    def end(self) -> str:
        """The rest of the output. Raises ValueError where the text is not of the form."""


class AsWritten:
    """The text is the output."""

    def feed(self, text: str) -> str:
        return text

    def end(self) -> str:
        return ""


class InObject:
    """The output is the JSON value of the one key of an object."""

    def __init__(self) -> None:
        self._text = ""
        self._is_open = False

    def feed(self, text: str) -> str:
        self._text += text
        if not self._is_open:
            opening = _OPENING.match(self._text)
            if opening is None:
                return ""
            self._text, self._is_open = self._text[opening.end() :], True
        held = _CLOSING.search(self._text)  # the last brace is the object's
        certain = self._text[: held.start()] if held else self._text
        self._text = self._text[len(certain) :]
        return certain

    def end(self) -> str:
        """Of an answer that was cut short, all there is."""
        if not self._is_open and self._text.strip():
            raise ValueError(f"it begins with {self._text[:40]!r}")
        return self._text.rstrip().removesuffix("}").rstrip() if self._is_open else ""


class Held:
    """The output is read from the whole text."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._text = ""
        self._read = read

    def feed(self, text: str) -> str:
        self._text += text
        return ""

    def end(self) -> str:
        return self._read(self._text)


def choice_in_object() -> Unwrapping:
    """`{"answer": "yes"}` is yes."""
    return Held(lambda text: _string(json.loads(text)[KEY]))


def choice_as_json() -> Unwrapping:
    """`"yes"` with its quotes is yes."""
    return Held(lambda text: _string(json.loads(text)))


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
