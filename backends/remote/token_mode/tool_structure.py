"""What holds a turn with tools to well-formed calls at a server that has grammars.

Servers with xgrammar take a structural tag: free text, and behind each trigger one of these tags.

    {"triggers": ["<tool_call>"], "tags": [{"begin": '<tool_call>\\n{"name": "find", "arguments": ',
     "content": {"type": "json_schema", ...}, "end": "}\\n</tool_call>"}]}

Servers with llguidance take the grammar of the embedded engine. Formats whose tags are special
tokens have no structural tag; their turns are free there, and read all the same.
"""

import json
from dataclasses import dataclass
from typing import Any

from backends.errors import RequestRejected
from backends.llm.requests.sampling import Sampling
from backends.llm.sequence.tool_decoding import ToolDecoding
from backends.tool_calls.format import CallFormat, closed_schema
from backends.tool_calls.tools import Tool, Toolset


@dataclass(frozen=True, slots=True)
class ToolStructure:
    """The same in the words of both kinds of grammars."""

    tag: str | None  # JSON; None: the format has none
    lark: str | None  # None: nothing is held
    has_content_form: bool = False  # a schema, a pattern or choices for a turn without calls

    def check(self, server: str, is_held: bool) -> None:
        """Raises RequestRejected where the server cannot hold content to its form beside calls."""
        if self.has_content_form and not is_held:
            raise RequestRejected(
                f"{server} cannot hold an answer to a schema, regex or choices where it may be a "
                "tool call as well: leave them out, or give tool_choice='none'"
            )


def structure_of(decoding: ToolDecoding, sampling: Sampling) -> ToolStructure | None:
    """None where no call may come: then the sampling alone says the form."""
    if decoding.tools is None or decoding.form is None or not decoding.tools.callable:
        return None
    source = decoding.grammar(sampling)
    tag = _structural_tag(decoding.form, decoding.tools, sampling)
    has_form = sampling.grammar is not None and not decoding.tools.is_call_required
    return ToolStructure(tag, None if source is None else source.text, has_form)


def _structural_tag(form: CallFormat, tools: Toolset, sampling: Sampling) -> str | None:
    if form.wrapping is None:
        return None
    begin, end, trigger = form.wrapping
    tags = [_tag(tool, begin, end) for tool in tools.callable]
    once = form.name == "llama" or tools.takes_one_call
    choice = {"at_least_one": tools.is_call_required, "stop_after_first": once}
    calls: dict[str, Any] = {
        "type": "triggered_tags",
        "triggers": [trigger],
        "tags": tags,
        **choice,
    }
    content = _content(sampling)
    if content and not tools.is_call_required:
        calls = {"type": "or", "elements": [*content, calls | {"at_least_one": True}]}
    return json.dumps({"type": "structural_tag", "format": calls}, ensure_ascii=False)


def _content(sampling: Sampling) -> list[dict[str, Any]]:
    """The forms of a turn without calls; none: any text."""
    if sampling.schema is not None:
        return [{"type": "json_schema", "json_schema": json.loads(sampling.schema)}]
    if sampling.regex is not None:
        return [{"type": "regex", "pattern": sampling.regex}]
    return [{"type": "const_string", "value": choice} for choice in sampling.choices or ()]


def _tag(tool: Tool, begin: str, end: str) -> dict[str, Any]:
    schema = closed_schema(tool)
    schema.pop("x-guidance")
    return {
        "type": "tag",
        "begin": begin % json.dumps(tool.name, ensure_ascii=False),
        "content": {"type": "json_schema", "json_schema": schema},
        "end": end,
    }
