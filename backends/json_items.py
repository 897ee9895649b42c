"""The items of a list in a JSON text that is still being written, as the texts they are.

A string is complete at its closing quote, an object or a list at its bracket, and a number only at
what follows it: `1` may go on to be `12`.
"""

import json
import re
from collections.abc import Iterator, Sequence

TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+)', re.DOTALL)


class JsonItems:
    """Reads a growing text once, from where it stopped; `keys` lead to the list."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self._end = 0  # of what is read
        self._depth = 0  # brackets that are open
        self._level = 0  # of these the objects, from the outermost on, that the keys lead through
        self._is_wanted = True  # the value that comes next is what the keys lead to
        self._is_key = False  # the string that comes next is a key
        self._list_depth: int | None = None  # inside the list
        self._start = 0  # of an item that has brackets
        self._is_over = False

    def read(self, text: str) -> Iterator[str]:
        """The items that became complete; `text` goes on from that of the last call."""
        while not self._is_over and (match := TOKEN.match(text, self._end)):
            token = match[1]
            if token[0] not in '"[]{},:' and match.end() == len(text):
                return
            self._end = match.end()
            if self._list_depth is None:
                self._find(token)
            elif self._take(token, match.start(1)):
                yield text[self._start : self._end]

    def _find(self, token: str) -> None:
        """Go on to the list."""
        if self._depth > self._level:  # inside a value that is not on the way
            self._depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token, 0)
        elif token in ("{", "["):
            self._open(token)
        elif token == "}":
            self._depth, self._level = self._depth - 1, self._level - 1
        elif token == ",":
            self._is_key, self._is_wanted = True, False
        elif self._is_key:
            self._is_key, self._is_wanted = False, _is_text(token, self._keys[self._level - 1])

    def _open(self, bracket: str) -> None:
        self._depth += 1
        if self._is_wanted and bracket == "{" and self._level < len(self._keys):
            self._level += 1
            self._is_key, self._is_wanted = True, False
        elif self._is_wanted and bracket == "[" and self._level == len(self._keys):
            self._list_depth = self._depth

    def _take(self, token: str, start: int) -> bool:
        """Go on in the list; whether an item is complete now."""
        is_outside = self._depth == self._list_depth
        if is_outside and token not in (",", ":"):
            self._start = start
        if token in ("{", "["):
            self._depth += 1
            return False
        if token in ("}", "]"):
            self._depth -= 1
            self._is_over = is_outside
            return self._depth == self._list_depth
        return is_outside and token not in (",", ":")


def _is_text(token: str, text: str) -> bool:
    try:
        return bool(json.loads(token) == text)
    except ValueError:
        return False
