"""An answer with tools as the canonical turn, whole or while it comes."""

from collections.abc import Callable

from backends.remote.drafts import Draft
from backends.tool_calls.turn import ToolTurn, TurnWriter, turn_text


class ToolAnswer:
    """Of a stream: content is told at once, a call when the next one begins or all are there."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._writer = TurnWriter()

    @property
    def text(self) -> str:
        return self._writer.text

    def feed(self, content: str, draft: Draft) -> None:
        """After an event."""
        self._tell(self._writer.content(content))
        self._tell_calls(draft, is_end=False)

    def end(self, draft: Draft) -> None:
        """After the last one."""
        self._tell_calls(draft, is_end=True)
        self._tell(self._writer.end())

    def _tell_calls(self, draft: Draft, *, is_end: bool) -> None:
        calls = draft.tool_calls
        whole = calls if is_end else calls[:-1]
        for call in whole[len(self._writer.calls) :]:
            self._tell(self._writer.call(call))

    def _tell(self, piece: str) -> None:
        if piece:
            self._emit(piece)


def whole_answer(content: str, draft: Draft) -> str:
    """Of an answer that came in one piece."""
    return turn_text(ToolTurn(content, draft.tool_calls))
