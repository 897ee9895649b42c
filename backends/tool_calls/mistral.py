"""Mistral, up to version 3 of its instruct tokenizers: a list of calls behind one tag.

    [TOOL_CALLS] [{"name": "find", "arguments": {"q": "tea"}, "id": "a1b2c3d4e"}]

Ids have nine letters or digits.
"""

import hashlib
import json
import re

from backends.base import ToolCall
from backends.tool_calls.format import (
    MAX_CALLS,
    Literal,
    Markup,
    Written,
    args_rules,
    call_rules,
    call_text,
)
from backends.tool_calls.parser import (
    JSONScan,
    NeedMore,
    NoCall,
    TaggedParser,
    call_from,
    expect,
    skip_space,
)
from backends.tool_calls.tools import Toolset
from backends.tool_calls.turn import ToolTurn

TAG, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_ID = re.compile(r"[a-zA-Z0-9]{9}")


def mistral_id(id: str) -> str:
    """The id of a call as these templates want it; made of another one, the same each time."""
    return id if _ID.fullmatch(id) else hashlib.sha256(id.encode()).hexdigest()[:9]


class MistralParser(TaggedParser):
    """Gives the calls of a list one by one. What stops to be a list in its middle is content from
    there on."""

    tag = TAG

    def __init__(self) -> None:
        super().__init__()
        self._scan = JSONScan()

    def read_call(self, text: str, *, is_end: bool) -> tuple[list[ToolCall], int]:
        if self.is_in_list:
            at = skip_space(text, 0)
            if text.startswith("]", at):
                self.is_in_list = False
                return [], at + 1
            at = expect(text, at, ",", is_end=is_end)
        else:
            at = expect(text, skip_space(text, len(TAG)), "[", is_end=is_end)
        start = skip_space(text, at)
        end = self._scan.end(text, start, is_end=is_end)
        call = call_from(text[start:end])
        self.is_in_list = True
        return [call], end


class MistralFormat:
    """The format with one list."""

    name = "mistral"
    markers = (TAG,)
    wrapping = None

    def parser(self) -> MistralParser:
        return MistralParser()

    def written(self, turn: ToolTurn) -> list[Written]:
        content: list[Written] = [turn.content] if turn.content else []
        if not turn.calls:
            return content
        calls = (
            f'{call_text(c, "arguments")[:-1]}, "id": "{mistral_id(c.id)}"}}' for c in turn.calls
        )
        return [*content, Markup(TAG), f" [{', '.join(calls)}]"]

    def grammar(self, toolset: Toolset, content: str | None, literal: Literal) -> str:
        end = f"{literal(', ' + json.dumps('id') + ': ' + chr(34))} ID {literal(chr(34) + '}')}"
        most = 0 if toolset.takes_one_call else MAX_CALLS - 1
        more = f" ({literal(', ')} call){{0,{most}}}" if most else ""
        rules = (
            f"calls: {literal(TAG)} {literal(' [')} call{more} {literal(']')}",
            "ID: /[a-zA-Z0-9]{9}/",
            call_rules(toolset.callable, "arguments", literal, end),
        )
        return "\n".join((_start(toolset, content, literal), *rules))


class NamedParser(TaggedParser):
    """Reads `[TOOL_CALLS]find[ARGS]{...}`, with a `[CALL_ID]` before the arguments or without."""

    tag = TAG

    def __init__(self) -> None:
        super().__init__()
        self._scan = JSONScan()

    def read_call(self, text: str, *, is_end: bool) -> tuple[list[ToolCall], int]:
        at = text.find(ARGS, len(TAG))
        if text.find(TAG, len(TAG), None if at < 0 else at) >= 0:
            raise NoCall
        if at < 0:
            raise NoCall if is_end else NeedMore
        name, _, id = text[len(TAG) : at].strip().partition(CALL_ID)
        start = skip_space(text, at + len(ARGS))
        end = self._scan.end(text, start, is_end=is_end)
        said = f'{{"name": {json.dumps(name)}, "arguments": {text[start:end]}}}'
        call = call_from(said)
        return [ToolCall(id, call.name, call.arguments)], end


class NamedFormat:
    """The format of newer models: a tag before each call.

    [TOOL_CALLS]find[ARGS]{"q": "tea"}
    """

    name = "mistral_named"
    markers = (TAG, ARGS, CALL_ID)
    wrapping = None

    def parser(self) -> NamedParser:
        return NamedParser()

    def written(self, turn: ToolTurn) -> list[Written]:
        found: list[Written] = [turn.content] if turn.content else []
        for call in turn.calls:
            found += [Markup(TAG), call.name, Markup(ARGS), call.arguments]
        return found

    def grammar(self, toolset: Toolset, content: str | None, literal: Literal) -> str:
        names = enumerate(tool.name for tool in toolset.callable)
        options = " | ".join(f"{literal(name)} {literal(ARGS)} args_{n}" for n, name in names)
        most = 1 if toolset.takes_one_call else MAX_CALLS
        rules = (
            f"calls: call{{1,{most}}}",
            f"call: {literal(TAG)} ({options})",
            args_rules(toolset.callable),
        )
        return "\n".join((_start(toolset, content, literal), *rules))


def _start(toolset: Toolset, content: str | None, literal: Literal) -> str:
    """Calls, behind free text where the tag is a token that no text holds."""
    if toolset.is_call_required:
        return "start: calls"
    if content is not None:
        return f"start: content | calls\ncontent: {content}"
    is_special = literal(TAG).startswith("<")
    calls = "TEXT? calls" if is_special else "calls"
    text = "TEXT: /(.|\\n)+/" if is_special else "TEXT: /[^\\[](.|\\n)*/"
    return f"start: content | {calls}\ncontent: TEXT?\n{text}"
