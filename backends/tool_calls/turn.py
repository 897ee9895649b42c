"""The canonical turn: what a decode with tools gives as its text, the same on every engine.

    {"content": "I look.", "calls": [{"id": "call_0", "name": "find", "arguments": "{\\"q\\": 1}"}]}

It is written as the model writes: content in pieces, a call as soon as it is complete. Content that
comes behind the first call has a key of its own at the end, `after`.
"""

import json
from dataclasses import dataclass
from typing import Any

from backends.base import ToolCall

_OPEN = '{"content": "'


@dataclass(frozen=True, slots=True)
class ToolTurn:
    """What a model said in one turn."""

    content: str
    calls: tuple[ToolCall, ...] = ()


class TurnWriter:
    """Writes one canonical turn; each method gives the next piece of its text."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self._pieces: list[str] = []
        self._late = ""  # content behind the first call

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def content(self, text: str) -> str:
        """More content."""
        if self.calls:
            self._late += text
            return ""
        return self._write(self._opening + _escaped(text)) if text else ""

    def call(self, call: ToolCall) -> str:
        """A complete call."""
        before = ", " if self.calls else f'{self._opening}", "calls": ['
        self.calls.append(call)
        fields = {"id": call.id, "name": call.name, "arguments": call.arguments}
        return self._write(before + json.dumps(fields, ensure_ascii=False))

    def end(self) -> str:
        """The rest."""
        if not self.calls:
            return self._write(f'{self._opening}", "calls": []}}')
        return self._write(f'], "after": "{_escaped(self._late)}"}}' if self._late else "]}")

    @property
    def _opening(self) -> str:
        return "" if self._pieces else _OPEN

    def _write(self, piece: str) -> str:
        self._pieces.append(piece)
        return piece


def turn_text(turn: ToolTurn) -> str:
    """The canonical text of a whole turn."""
    writer = TurnWriter()
    writer.content(turn.content)
    for call in turn.calls:
        writer.call(call)
    writer.end()
    return writer.text


def read_turn(text: str) -> ToolTurn | None:
    """The turn that a canonical text says; None for any other text."""
    if not text.startswith(_OPEN):
        return None
    try:
        return _turn_of(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _turn_of(said: Any) -> ToolTurn | None:
    if not isinstance(said, dict) or not {"content", "calls"} <= said.keys():
        return None
    if not said.keys() <= {"content", "calls", "after"} or not isinstance(said["calls"], list):
        return None
    calls = [_call_of(call) for call in said["calls"]]
    texts = [said["content"], said.get("after", "")]
    if None in calls or not all(isinstance(text, str) for text in texts):
        return None
    return ToolTurn("".join(texts), tuple(call for call in calls if call is not None))


def _call_of(said: Any) -> ToolCall | None:
    if not isinstance(said, dict) or said.keys() != {"id", "name", "arguments"}:
        return None
    fields = list(said.values())
    return ToolCall(**said) if all(isinstance(field, str) for field in fields) else None


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
