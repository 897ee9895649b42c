"""Reads a model's turn while it is written: its content in pieces, each call when it is complete.

Takes the canonical turn of engines with tools (`backends.tool_calls.turn`) and the JSON of the same
shape that other engines are held to, whose arguments are an object.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

_CONTENT = re.compile(r'\{\s*"content"\s*:\s*"')
_CALLS = re.compile(r'"\s*,\s*"calls"\s*:\s*\[')
_AFTER = re.compile(r'\]\s*,\s*"after"\s*:\s*"')
_BETWEEN = re.compile(r"[\s,]*")
_ESCAPE_LEN = 13  # of a character in two escapes, and one more
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a model makes."""

    name: str
    arguments: str  # JSON
    id: str = field(default="", compare=False)  # of engines with tools


class TurnReader:
    """Takes the text of one turn piece by piece."""

    def __init__(self) -> None:
        self.content = ""
        self.calls: list[Call] = []
        self._text = ""
        self._at = 0
        self._state = "begin"

    def feed(self, piece: str) -> tuple[str, list[Call]]:
        """What of the content, and which calls, came with this piece."""
        self._text += piece
        before = len(self.content), len(self.calls)
        while self._step():
            pass
        return self.content[before[0] :], self.calls[before[1] :]

    def finish(self) -> list[Call]:
        """The calls of a text that is no JSON of that shape, read as far as it can be: all of it is
        content where nothing else is known."""
        if self._state != "begin" or not self._text.strip():
            return []
        try:
            said = json.loads(self._text)
        except ValueError:
            said = None
        content = said.get("content") if isinstance(said, dict) else None
        if not isinstance(said, dict) or not {"content", "calls"} & said.keys():
            content = self._text
        self.content = content if isinstance(content, str) else ""
        made = said.get("calls") if isinstance(said, dict) else None
        self.calls += [_call_of(one) for one in made or () if isinstance(one, dict)]
        return self.calls

    def _step(self) -> bool:
        """Go on in the text; whether there may be more to see."""
        if self._state == "begin":
            return self._enter(_CONTENT, "content")
        if self._state in ("content", "late"):
            return self._read_content()
        if self._state == "behind content":
            return self._enter(_CALLS, "calls")
        return self._state == "calls" and (self._read_call() or self._enter(_AFTER, "late"))

    def _enter(self, opening: re.Pattern[str], state: str) -> bool:
        found = opening.match(self._text, self._at)
        if found is None:
            return False
        self._at, self._state = found.end(), state
        return True

    def _read_content(self) -> bool:
        end = self._string_end()
        upto = len(self._text) if end is None else end
        text, num_read = _decoded(self._text[self._at : upto])
        self.content += text
        self._at += num_read
        if end is None:
            return False
        self._state = "behind content" if self._state == "content" else "end"
        return True

    def _string_end(self) -> int | None:
        """Where the quotation mark stands that ends the string we are in."""
        at = self._at
        while at < len(self._text):
            if self._text[at] == "\\":
                at += 2
            elif self._text[at] == '"':
                return at
            else:
                at += 1
        return None

    def _read_call(self) -> bool:
        found = _BETWEEN.match(self._text, self._at)
        start = found.end() if found else self._at
        try:
            said, end = _DECODER.raw_decode(self._text, start)
        except ValueError:
            return False
        self._at = end
        self.calls.append(_call_of(said))
        return True


def _call_of(said: Any) -> Call:
    given = said.get("arguments", "{}")
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return Call(str(said.get("name")), text, str(said.get("id", "")))


def _decoded(raw: str) -> tuple[str, int]:
    """What a part of a JSON string says, up to an escape that is not complete; and its length."""
    for end in range(len(raw), max(0, len(raw) - _ESCAPE_LEN), -1):
        try:
            text: str = json.loads(f'"{raw[:end]}"', strict=False)
        except ValueError:
            continue
        if not text or not "\ud800" <= text[-1] <= "\udbff":  # else the second half is to come
            return text, end
    return "", 0
