"""What a format of tool calls is: how a model writes calls, how they are read, what holds it to
them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from backends.base import ToolCall
from backends.tool_calls.parser import CallParser
from backends.tool_calls.tools import Tool, Toolset
from backends.tool_calls.turn import ToolTurn

MAX_CALLS = 16  # of one turn that a grammar holds: small models would go on for ever
# No free whitespace: small models would loop on it. The separators are those of json.dumps.
SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
GUIDANCE = {"x-guidance": {**SPACING, "lenient": True}}  # what llguidance does not know is let be


def with_spacing(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that says how its JSON is spaced: llguidance reads it, here and at servers that use
    it; grammars of another kind ignore the added key."""
    return {**schema, "x-guidance": SPACING}


@dataclass(frozen=True, slots=True)
class Markup:
    """Text of a format's own, which may be special tokens."""

    text: str


Written: TypeAlias = "str | Markup"
Literal: TypeAlias = "Callable[[str], str]"  # a text or a special token, as Lark writes it


class CallFormat(Protocol):
    """One format."""

    @property
    def name(self) -> str: ...

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that are special tokens in some vocabularies, and are read all the same."""

    @property
    def wrapping(self) -> tuple[str, str, str] | None:
        """What stands around the arguments of a call, with %s for its name as JSON, and how a call
        begins; None where these are special tokens."""

    def parser(self) -> CallParser:
        """A new one, for one turn."""

    def written(self, turn: ToolTurn) -> list[Written]:
        """A turn as a model of this format writes it."""

    def grammar(self, toolset: Toolset, content: str | None, literal: Literal) -> str:
        """A Lark grammar of the turns that the toolset allows. `content` is the right side of a
        rule for a turn without calls; None: any text."""


def written_text(form: CallFormat, turn: ToolTurn) -> str:
    """A turn as one text, special tokens by their names."""
    pieces = form.written(turn)
    return "".join(piece.text if isinstance(piece, Markup) else piece for piece in pieces)


def call_rules(tools: Sequence[Tool], key: str, literal: Literal, end: str = "}") -> str:
    """The rule `call`: a JSON object of a name and, under `key`, arguments that fit the schema."""
    heads = (f"{json.dumps(tool.name, ensure_ascii=False)}, {json.dumps(key)}: " for tool in tools)
    options = (f"{literal(head)} args_{number}" for number, head in enumerate(heads))
    start = literal('{"name": ')
    return f"call: {start} ({' | '.join(options)}) {end}\n{args_rules(tools)}"


def args_rules(tools: Sequence[Tool]) -> str:
    """The rules `args_0` ... of the tools' arguments."""
    schemas = (json.dumps(closed_schema(tool), ensure_ascii=False) for tool in tools)
    return "\n".join(f"args_{number}: %json {schema}" for number, schema in enumerate(schemas))


def call_text(call: ToolCall, key: str) -> str:
    """A call as a JSON object."""
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{{"name": {name}, {json.dumps(key)}: {call.arguments}}}'


def closed_schema(tool: Tool) -> dict[str, Any]:
    """The schema of an object without other properties than those named, unless it says so."""
    closed: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    if "patternProperties" in tool.parameters or "$ref" in tool.parameters:
        closed = {"type": "object"}
    return {**closed, **tool.parameters, **GUIDANCE}
