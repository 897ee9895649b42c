"""Turns in the text of a fake language model: their markup, and the calls of tools in them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backends.base import FinishReason, Request, Sample, Turn
from backends.tool_calls.hermes import HermesParser, hermes_text
from backends.tool_calls.stream import TurnStream
from backends.tool_calls.tools import Toolset, choose_tools
from backends.tool_calls.turn import read_turn


@dataclass(frozen=True, slots=True)
class Spoken:
    """One sample, as the model wrote it and as it is read."""

    text: str  # as the model wrote it
    turn: TurnStream | None  # what was read of it, with tools
    num_tokens: int
    was_cut: bool

    @property
    def output(self) -> str:
        """What a decode gives."""
        return self.text if self.turn is None else self.turn.text

    @property
    def sample(self) -> Sample:
        """How it ended."""
        calls = () if self.turn is None else self.turn.calls
        ended: FinishReason = "tool_calls" if calls else "stop"
        return Sample("length" if self.was_cut else ended, tool_calls=calls)


def show(emit: Callable[[str], None] | None, piece: str) -> None:
    """Tell a piece to whoever listens."""
    if emit is not None and piece:
        emit(piece)


def tools_of(request: Request) -> Toolset | None:
    """The tools that hold for a request: its own, else those of its context."""
    parent = request.inputs[0]
    is_start = parent is None or not parent.text
    return choose_tools(request.attrs, None if parent is None else parent.tools, is_start=is_start)


def turn_stream(tools: Toolset) -> TurnStream:
    """What reads a turn while it is written."""
    return TurnStream(HermesParser() if tools.callable else None)


def text_of(part: Any, tools: Toolset | None) -> str:
    """A part as it stands in the text of a context."""
    if isinstance(part, Turn):
        return f"<|{part.role}|>"
    turn = read_turn(part) if tools is not None else None
    return str(part) if turn is None else hermes_text(turn)
