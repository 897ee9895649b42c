"""What is open after the last token of a context: a chat turn and, with tools, what was called."""

from dataclasses import dataclass, replace
from typing import TypeAlias

from backends.base import Role, ToolCall
from backends.tool_calls.tools import Toolset


@dataclass(frozen=True, slots=True)
class ToolTurns:
    """Of a conversation with tools."""

    role: Role | None
    tools: Toolset
    calls: tuple[ToolCall, ...] = ()  # of the last assistant turn
    num_answered: int = 0  # tool turns since then

    def called(self, calls: tuple[ToolCall, ...]) -> "ToolTurns":
        """After an assistant turn with these calls."""
        return replace(self, calls=calls, num_answered=0)

    def entered(self, role: Role) -> "ToolTurns":
        num_answered = self.num_answered + 1 if role == "tool" else 0
        return replace(self, role=role, num_answered=num_answered)

    def call(self, number: int) -> ToolCall | None:
        """The call that the tool turn of this number answers; None where there are fewer."""
        return self.calls[number] if 0 <= number < len(self.calls) else None


Open: TypeAlias = "Role | ToolTurns | None"  # a turn; with tools; None: no turn


def with_tools(turn: Open, tools: Toolset | None) -> Open:
    """The turn in a conversation with these tools."""
    if tools is None:
        return turn
    if isinstance(turn, ToolTurns):
        return replace(turn, tools=tools)
    return ToolTurns(turn, tools)


def tools_of(turn: Open) -> Toolset | None:
    return turn.tools if isinstance(turn, ToolTurns) else None
