"""Llama 3: a turn that is a JSON object is a call. Its markup token may stand before it.

    {"name": "find", "parameters": {"q": "tea"}}
    <|python_tag|>{"name": "find", "parameters": {"q": "tea"}}

Several calls are separated by semicolons or lines. A JSON object without a name and parameters is
content.
"""

import json
from collections.abc import Iterator
from typing import Any

from backends.tool_calls.format import (
    GUIDANCE,
    Literal,
    Markup,
    Written,
    call_rules,
    call_text,
    closed_schema,
)
from backends.tool_calls.parser import (
    JSONScan,
    NeedMore,
    NoCall,
    Piece,
    call_from,
    skip,
    skip_space,
)
from backends.tool_calls.tools import Tool, Toolset
from backends.tool_calls.turn import ToolTurn

TAG = "<|python_tag|>"
_KEYS = ("parameters", "arguments")
_BETWEEN = " \t\r\n;"


class LlamaParser:
    """Calls stand at the begin of a turn, or behind the tag."""

    def __init__(self) -> None:
        self._text = ""  # undecided
        self._scan = JSONScan()
        self._may_call = True  # calls alone came so far
        self._is_behind_call = False

    def feed(self, text: str) -> list[Piece]:
        self._text += text
        return list(self._pieces(is_end=False))

    def finish(self) -> list[Piece]:
        return list(self._pieces(is_end=True))

    def _pieces(self, *, is_end: bool) -> Iterator[Piece]:
        while self._text:
            try:
                if self._may_call:
                    yield from self._calls(is_end=is_end)
                else:
                    yield from self._content(is_end=is_end)
            except NeedMore:
                return
            except NoCall:
                if is_end and self._is_begun_call():
                    return
                self._may_call = False
                if self._text.startswith(TAG):  # content, and not looked at again
                    yield TAG
                    self._text = self._text[len(TAG) :]

    def _calls(self, *, is_end: bool) -> Iterator[Piece]:
        start = skip_space(self._text, 0)
        if self._is_behind_call:
            start = len(self._text) - len(self._text.lstrip(_BETWEEN))
        start = skip_space(self._text, skip(self._text, start, TAG, is_end=is_end))
        if start == len(self._text) and not is_end:
            raise NeedMore
        end = self._scan.end(self._text, start, is_end=is_end)
        said = self._text[start:end]
        call = call_from(said, _KEYS)
        if not any(f'"{key}"' in said for key in _KEYS):
            raise NoCall
        self._text, self._is_behind_call = self._text[end:], True
        yield call

    def _is_begun_call(self) -> bool:
        """Whether the end of the text cuts a call that follows on another one."""
        try:
            next(self._calls(is_end=False), None)
        except (NeedMore, NoCall) as why:
            return self._is_behind_call and isinstance(why, NeedMore)
        raise AssertionError("it is no call at the end of its text")

    def _content(self, *, is_end: bool) -> Iterator[Piece]:
        at = self._text.find(TAG)
        if at == 0:
            self._may_call = True
            return
        end = at if at > 0 else len(self._text)
        if at < 0 and not is_end:
            end -= next((n for n in range(len(TAG) - 1, 0, -1) if self._text.endswith(TAG[:n])), 0)
        if not end:
            raise NeedMore
        yield self._text[:end]
        self._text = self._text[end:]


class LlamaFormat:
    """The format. Its templates take one call in a turn."""

    name = "llama"
    markers = (TAG,)
    wrapping = ('{"name": %s, "parameters": ', "}", '{"name": ')

    def parser(self) -> LlamaParser:
        return LlamaParser()

    def written(self, turn: ToolTurn) -> list[Written]:
        found: list[Written] = [turn.content] if turn.content else []
        for number, call in enumerate(turn.calls):
            before = Markup(TAG) if found and not number else Markup("; ")
            found += [*([before] if found else []), call_text(call, "parameters")]
        return found

    def grammar(self, toolset: Toolset, content: str | None, literal: Literal) -> str:
        call = call_rules(toolset.callable, "parameters", literal, literal("}"))
        if content is not None and not toolset.is_call_required:
            return f"start: content | call\ncontent: {content}\n{_json_calls(toolset)}"
        if toolset.is_call_required:
            return f"start: call\n{call}"
        tagged = f" | {literal(TAG)} call" if literal(TAG).startswith("<") else ""
        return f"start: content | call{tagged}\ncontent: /[^{{ \\t\\r\\n](.|\\n)*/ |\n{call}"


def _json_calls(toolset: Toolset) -> str:
    """The rule `call` by a JSON schema: content that is JSON too may begin as a call does, and only
    schemas are followed side by side."""
    schemas = (json.dumps(_call_schema(tool), ensure_ascii=False) for tool in toolset.callable)
    rules = [f"call_{number}: %json {schema}" for number, schema in enumerate(schemas)]
    names = " | ".join(f"call_{number}" for number in range(len(rules)))
    return "\n".join((f"call: {names}", *rules))


def _call_schema(tool: Tool) -> dict[str, Any]:
    parameters = closed_schema(tool)
    named = ("$defs", "definitions")
    shared: dict[str, Any] = {key: parameters.pop(key) for key in named if key in parameters}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "parameters": parameters},
        "required": ["name", "parameters"],
        "additionalProperties": False,
        **shared,
        **GUIDANCE,
    }
