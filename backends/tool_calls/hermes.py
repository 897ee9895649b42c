"""Hermes and Qwen: each call is a JSON object between tags.

I look.
<tool_call>
{"name": "find", "arguments": {"q": "tea"}}
</tool_call>
"""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from backends.base import ToolCall
from backends.tool_calls.format import (
    MAX_CALLS,
    Literal,
    Markup,
    Written,
    call_rules,
    call_text,
    written_text,
)
from backends.tool_calls.parser import JSONScan, TaggedParser, call_from, skip, skip_space
from backends.tool_calls.tools import Tool, Toolset
from backends.tool_calls.turn import ToolTurn

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_SYSTEM = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
%s
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


class HermesParser(TaggedParser):
    """Takes a call without its closing tag too: models leave it out at the end of a turn."""

    tag, end_tag = OPEN, CLOSE

    def __init__(self) -> None:
        super().__init__()
        self._scan = JSONScan()

    def read_call(self, text: str, *, is_end: bool) -> tuple[list[ToolCall], int]:
        start = skip_space(text, len(OPEN))
        end = self._scan.end(text, start, is_end=is_end)
        behind = skip(text, skip_space(text, end), CLOSE, is_end=is_end)
        return [call_from(text[start:end])], behind


class HermesFormat:
    """The format; also what models whose template knows no tools are told to write."""

    name = "hermes"
    markers = (OPEN, CLOSE)
    wrapping = (f'{OPEN}\n{{"name": %s, "arguments": ', f"}}\n{CLOSE}", OPEN)

    def parser(self) -> HermesParser:
        return HermesParser()

    def written(self, turn: ToolTurn) -> list[Written]:
        found: list[Written] = [turn.content] if turn.content else []
        for call in turn.calls:
            found += [Markup(f"\n{OPEN}\n" if found else f"{OPEN}\n")]
            found += [call_text(call, "arguments"), Markup(f"\n{CLOSE}")]
        return found

    def grammar(self, toolset: Toolset, content: str | None, literal: Literal) -> str:
        tag, end = literal(OPEN), f"{literal('}' + chr(10))} {literal(CLOSE)}"
        calls = f"calls: {literal(chr(10))} call more{{0,{MAX_CALLS - 1}}}"
        if toolset.takes_one_call:
            calls = f"calls: {literal(chr(10))} call"
        rules = [
            calls,
            f"more: {literal(chr(10))} {tag} {literal(chr(10))} call",
            call_rules(toolset.callable, "arguments", literal, end),
        ]
        if toolset.is_call_required:
            return "\n".join((f"start: {tag} calls", *rules))
        if content is not None:
            return "\n".join((f"start: content | {tag} calls", f"content: {content}", *rules))
        is_special = tag.startswith("<")
        head = f"head: TEXT {tag}" if is_special else f"head[lazy]: TEXT {tag}"
        start = "start: content | head calls\ncontent: TEXT\nTEXT: /(.|\\n)*/"
        return "\n".join((start, head, *rules))


def hermes_text(turn: ToolTurn) -> str:
    """The turn as such a model writes it."""
    return written_text(HermesFormat(), turn)


def hermes_messages(messages: Sequence[Any], tools: Sequence[Tool], has_system: bool) -> list[Any]:
    """Messages for a template that knows no tools: these stand in the system turn (or the first
    user turn), calls and their answers are text."""
    signatures = ({"type": "function", "function": tool.function} for tool in tools)
    told = _SYSTEM % "\n".join(json.dumps(each, ensure_ascii=False) for each in signatures)
    found: list[Any] = []
    for is_answer, group in groupby(messages, lambda message: message["role"] == "tool"):
        if is_answer:
            answers = (f"<tool_response>\n{one['content']}\n</tool_response>" for one in group)
            found.append({"role": "user", "content": "\n".join(answers)})
        else:
            found += [{"role": one["role"], "content": _said(one)} for one in group]
    return _told(found, told, has_system)


def _said(message: Any) -> str:
    calls = (call["function"] | {"id": call["id"]} for call in message.get("tool_calls", ()))
    made = (ToolCall(call["id"], call["name"], _json(call["arguments"])) for call in calls)
    return hermes_text(ToolTurn(message["content"], tuple(made)))


def _told(messages: list[Any], told: str, has_system: bool) -> list[Any]:
    first = messages[0] if messages else {"role": "", "content": ""}
    if first["role"] == "system":
        return [{**first, "content": f"{first['content']}\n\n{told}"}, *messages[1:]]
    if has_system:
        return [{"role": "system", "content": told}, *messages]
    if first["role"] == "user":
        return [{**first, "content": f"{told}\n\n{first['content']}"}, *messages[1:]]
    return messages


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
