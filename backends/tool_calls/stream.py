"""From the text that a model writes to the canonical turn, piece by piece."""

from collections.abc import Iterable
from dataclasses import replace

from backends.base import ToolCall
from backends.tool_calls.parser import CallParser, Piece
from backends.tool_calls.turn import TurnWriter


class TurnStream:
    """One turn. Calls of a format without ids are numbered."""

    def __init__(self, parser: CallParser | None) -> None:
        """Without a parser all text is content: calls are forbidden."""
        self._parser = parser
        self._writer = TurnWriter()

    @property
    def text(self) -> str:
        return self._writer.text

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(self._writer.calls)

    def feed(self, text: str) -> str:
        """More of what the model writes; the next piece of the canonical turn."""
        return self._write(self._parser.feed(text) if self._parser is not None else [text])

    def finish(self) -> str:
        """The end of the canonical turn."""
        left = self._write(self._parser.finish() if self._parser is not None else [])
        return left + self._writer.end()

    def _write(self, pieces: Iterable[Piece]) -> str:
        return "".join(map(self._piece, pieces))

    def _piece(self, piece: Piece) -> str:
        if isinstance(piece, str):
            return self._writer.content(piece)
        number = len(self._writer.calls)
        return self._writer.call(piece if piece.id else replace(piece, id=f"call_{number}"))
