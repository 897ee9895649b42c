"""Hermes and Qwen: each call is a JSON object between tags.

I look.
<tool_call>
{"name": "find", "arguments": {"q": "tea"}}
</tool_call>
"""

import json

from backends.base import ToolCall
from backends.tool_calls.parser import JSONScan, TaggedParser, call_from, skip, skip_space
from backends.tool_calls.turn import ToolTurn

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class HermesParser(TaggedParser):
    """Takes a call without its closing tag too: models leave it out at the end of a turn."""

    tag = OPEN

    def __init__(self) -> None:
        super().__init__()
        self._scan = JSONScan()

    def read_call(self, text: str, *, is_end: bool) -> tuple[list[ToolCall], int]:
        start = skip_space(text, len(OPEN))
        end = self._scan.end(text, start, is_end=is_end)
        behind = skip(text, skip_space(text, end), CLOSE, is_end=is_end)
        return [call_from(text[start:end])], behind


def hermes_text(turn: ToolTurn) -> str:
    """The turn as such a model writes it."""
    calls = (f"{OPEN}\n{_call_text(call)}\n{CLOSE}" for call in turn.calls)
    return "\n".join((*([turn.content] if turn.content else []), *calls))


def _call_text(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{{"name": {name}, "arguments": {call.arguments}}}'
