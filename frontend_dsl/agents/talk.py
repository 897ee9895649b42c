"""An agent's conversation with its model: one context from the first turn to the last.

On engines with tools the turns are the engine's own. Others are held to the JSON of such a turn,
with the tools described in the system prompt; their answers to calls are turns of the user.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backends.tool_calls.turn import ToolTurn, read_turn, turn_text
from frontend_dsl.agents.agent_tools import Callee
from frontend_dsl.components import LLM
from frontend_dsl.template import pieces
from frontend_dsl.tracer import tracing
from frontend_dsl.value import Context, Value
from frontend_dsl.writing import on_engine, prefill, prompt_parts
from graph_opt.graph import Json, Marker

TURN = "turn"  # how the nodes of an agent's turns are called, behind its name
ANSWER = "answer"  # and those whose text is what the model says
MOST_CALLS = 4  # in one turn, on engines without tools
CONTENT_CHARS = 2  # of a JSON turn for each token that it may have: the calls need some too
_HOW = (
    'Answer with JSON: {"content": what you say, "calls": [{"name": ..., "arguments": {...}}]}. '
    "The calls are those of functions, whose results you get; without calls, what you say is your "
    "answer. The functions, one a line:"
)


class Talk:
    """A conversation at one point."""

    def __init__(
        self,
        name: str,
        llm: LLM,
        callees: Mapping[str, Callee],
        sampling: Mapping[str, Json],
        *,
        is_native: bool,
    ) -> None:
        self._name = name
        self._llm = llm
        self._callees = callees
        self._sampling = sampling
        self.is_native = is_native
        self._context: Value | None = None

    @property
    def has_json_turns(self) -> bool:
        """Whether a turn is JSON, and not the answer itself."""
        return bool(self._callees)

    @property
    def max_tokens(self) -> int:
        """Of a turn."""
        max_tokens = self._sampling["max_tokens"]
        assert isinstance(max_tokens, int), "the attrs of a decode always have it"
        return max_tokens

    def is_plain(self, choice: str, schema: Json) -> bool:
        """Whether the text of such a turn is what the model says, and no JSON of a turn."""
        is_free = schema is not None or choice == "none"
        return not self.has_json_turns or (not self.is_native and is_free)

    def open(self, system: str) -> list[tuple[str, str]]:
        """The turns before the first of the user."""
        if self.has_json_turns and not self.is_native:
            tools = [json.dumps(each.described, ensure_ascii=False) for each in self._tools]
            system = "\n".join([*([system, ""] if system else []), _HOW, *tools])
        return [("system", system)] if system else []

    def answers(self, results: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """The turns that answer calls, of which each has a name and a result."""
        results = [(name, _encodable(result)) for name, result in results]
        if self.is_native:
            return [("tool", result) for _, result in results]
        return [("user", "\n".join(f"{name} gave: {result}" for name, result in results))]

    def ask(
        self,
        turns: Sequence[tuple[str, str]],
        choice: str = "auto",
        schema: Json = None,
    ) -> Value:
        """The text of the model's next turn, as a value of the app; with `schema` its content is
        JSON of that."""
        tracer = tracing(f"the agent {self._name}")
        with tracer.call(TURN):
            tools: dict[str, Json] = {}
            if self.has_json_turns and self.is_native and self._context is None:
                tools = {"tools": [each.described for each in self._tools]}
            parts = [part for turn in turns for part in self._parts(tracer, *turn)]
            parts.append(Marker("assistant"))
            filled = prefill(tracer, self._name, self._llm, self._context, parts, tools)
            attrs = {**on_engine(tracer, self._llm), **self._sampling, **self._held(choice, schema)}
            kind = ANSWER if self.is_plain(choice, schema) and self.has_json_turns else TURN
            hints = [f"{self._name}.{kind}", f"{self._name}.context"]
            text, self._context = tracer.emit_many(
                "decode", (filled,), attrs, hints, [str, Context]
            )
            tracer.hold(self._context)
        return text

    @property
    def context(self) -> Value | None:
        """What the model has read and written."""
        return self._context

    def go_back(self, context: Value | None) -> None:
        """Forget what came behind a context."""
        self._context = context

    @property
    def _tools(self) -> Iterable[Callee]:
        return self._callees.values()

    def _held(self, choice: str, schema: Json) -> dict[str, Json]:
        """The attrs that hold the turn to a form."""
        if not self.has_json_turns:
            return {} if schema is None else {"schema": schema}
        if self.is_native:
            held: dict[str, Json] = {"tool_choice": choice}
            return held if schema is None else {**held, "schema": schema}
        if schema is None and choice == "none":
            return {}
        return {"schema": self._turn_schema(choice) if schema is None else schema}

    def _parts(self, tracer: Any, role: str, text: str) -> list[Any]:
        is_no_call = role == "assistant" and self.has_json_turns and self.is_native
        if is_no_call and read_turn(text) is not None:  # said once, in words
            text = turn_text(ToolTurn(text))
        return [Marker(role), *prompt_parts(pieces(text, (), tracer.given))]

    def _turn_schema(self, choice: str) -> Json:
        """The JSON of a turn, whose content leaves room for calls."""
        return _turn_schema(list(self._tools), choice, CONTENT_CHARS * self.max_tokens)


def _encodable(text: str) -> str:
    """With question marks for lone surrogates, which file names have and no model reads."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _turn_schema(callees: Sequence[Callee], choice: str, most_chars: int) -> Json:
    """Of a turn that calls one of these: the one that is named, if any, once."""
    named = [callee for callee in callees if callee.name == choice] or list(callees)
    calls = {
        "type": "array",
        "items": {"anyOf": [_call_schema(callee) for callee in named]},
        "minItems": 0 if choice == "auto" else 1,
        "maxItems": MOST_CALLS if choice in ("auto", "required") else 1,
    }
    return _object(content={"type": "string", "maxLength": most_chars}, calls=calls)  # type: ignore[arg-type]


def _call_schema(callee: Callee) -> Json:
    schema = dict(callee.arguments.schema)
    defs = schema.pop("$defs", {})
    arguments = without_refs(schema, defs if isinstance(defs, dict) else {}, ())
    return _object(name={"const": callee.name}, arguments=arguments)


def _object(**properties: Json) -> dict[str, Json]:
    required: list[Json] = [*properties]
    closed: dict[str, Json] = {"type": "object", "properties": {**properties}}
    return {**closed, "required": required, "additionalProperties": False}


def without_refs(schema: Any, defs: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    """The schema with what it refers to in its place; what is inside of itself is any object."""
    if isinstance(schema, list):
        return [without_refs(item, defs, inside) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        if name in inside or name not in defs:
            return {"type": "object"}
        return without_refs(defs[name], defs, (*inside, name))
    return {key: without_refs(value, defs, inside) for key, value in schema.items()}
