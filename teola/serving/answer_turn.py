"""One answer of a conversation with tools, read while it comes: its text, and its calls."""

import re
from collections.abc import Iterable
from uuid import uuid4

from backends.base import ToolCall
from frontend_dsl.agents.turn_reader import Call, TurnReader

_NUMBERED = re.compile(r"(call_\d+)?")  # ids of an engine whose model writes none


class AnswerTurn:
    """Takes the canonical turn of an engine. Calls keep the ids that a model wrote; the others get
    ids that no other call has, since clients match answers by them over a whole conversation."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self._reader = TurnReader()
        self._num_fed = 0

    @property
    def content(self) -> str:
        return self._reader.content

    def feed(self, piece: str) -> tuple[str, tuple[tuple[int, ToolCall], ...]]:
        """The text, and the calls with their numbers, that came with this piece."""
        self._num_fed += len(piece)
        content, calls = self._reader.feed(piece)
        return content, self._numbered(calls)

    def rest(self, text: str) -> str:
        """What was not fed of the whole turn: all of it from engines that stream nothing."""
        return text[self._num_fed :]

    def _numbered(self, calls: Iterable[Call]) -> tuple[tuple[int, ToolCall], ...]:
        first = len(self.calls)
        self.calls += (ToolCall(_id_of(call), call.name, call.arguments) for call in calls)
        return tuple(enumerate(self.calls[first:], first))


def _id_of(call: Call) -> str:
    return f"call_{uuid4().hex[:24]}" if _NUMBERED.fullmatch(call.id) else call.id
