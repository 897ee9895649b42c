"""What a fake language model says."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from backends.base import ToolCall
from backends.fake.pattern import shortest_match
from backends.fake.script import Script
from backends.fake.smallest import smallest
from backends.tool_calls.hermes import hermes_text
from backends.tool_calls.tools import Toolset
from backends.tool_calls.turn import ToolTurn


def reply_to(
    prompt: str,
    tools: Toolset | None,
    attrs: Mapping[str, Any],
    replies: Script | Mapping[str, Any],
) -> str:
    """What a model says behind a prompt: what a script or a pattern replies, else made-up words
    in the form that is asked for. Raises what is to be raised."""
    if isinstance(replies, Script):
        named = {"tools": [tool.name for tool in tools.tools]} if tools is not None else {}
        made_up = partial(_made_up, prompt, tools, attrs)
        return replies.reply(prompt, {**attrs, **named}, made_up)
    for pattern, reply in replies.items():
        if re.search(pattern, prompt):
            if isinstance(reply, Exception):
                raise reply
            return str(reply)
    return _made_up(prompt, tools, attrs)


def _made_up(prompt: str, tools: Toolset | None, attrs: Mapping[str, Any]) -> str:
    if tools is not None and tools.is_call_required:
        return _smallest_call(tools, _words(prompt))
    if "choices" in attrs:
        return str(attrs["choices"][number_of(prompt) % len(attrs["choices"])])
    if "regex" in attrs:
        return shortest_match(attrs["regex"])
    words = _words(prompt + json.dumps(_sampling(attrs), sort_keys=True))
    if "schema" in attrs:
        given = attrs["schema"]
        schema = json.loads(given) if isinstance(given, str) else given
        return json.dumps(smallest(schema, schema.get("$defs", {}), words))
    return words


def _smallest_call(tools: Toolset, words: str) -> str:
    tool = tools.callable[0]
    arguments = smallest(tool.parameters, tool.parameters.get("$defs", {}), words)
    call = ToolCall("", tool.name, json.dumps(arguments, ensure_ascii=False))
    return hermes_text(ToolTurn("", (call,)))


def _sampling(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: attrs[name] for name in ("temperature", "seed") if attrs.get(name)}


def number_of(text: str) -> int:
    """The same for the same text, in every process."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def _words(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"reply {digest[:4]} {digest[4:8]}"
