"""How an answer is held to a schema, a pattern or choices: fields of the body, and the way back.

| server | schema | regex | choices |
|---|---|---|---|
| OpenAI | response_format; strict where it can | no | an enum in an object |
| vLLM | structured_outputs.json | .regex | .choice |
| SGLang | response_format, json_schema (completions) | regex | a regex |
| teola | response_format | regex | choices |
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.errors import AnswerInvalid, RequestRejected
from backends.remote.schema_check import first_fault
from backends.remote.servers import Forms
from backends.remote.strict_schema import NotStrict, strict_schema
from backends.remote.text_call import TextCall
from backends.remote.unwrapping import KEY, AsWritten, InObject, Unwrapping, choice_in_object
from backends.tool_calls.format import with_spacing

NAME = "answer"  # OpenAI wants one for each schema
_WRAPPING_TOKENS = 16  # of what stands around an output in an object
_ANY_OBJECT = {"type": "object"}
_SPECIAL = re.compile(r"([\\.^$*+?()\[\]{}|])")
_ESCAPED = r"\\\1"


@dataclass(frozen=True, slots=True)
class Form:
    """What joins the body, and how the answer's text becomes the output."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    unwrapping: Callable[[], Unwrapping] = AsWritten
    more_tokens: int = 0  # than the output itself has


def chat_form(call: TextCall, forms: Forms) -> Form:
    """For /v1/chat/completions. Raises RequestRejected for what the server cannot hold to."""
    if forms == "openai":
        return _openai(call, lambda schema: {"response_format": schema})
    return _open_server(call, forms, is_chat=True)


def completion_form(call: TextCall, forms: Forms) -> Form:
    """For /v1/completions."""
    if forms == "openai":
        for name in ("schema", "regex", "choices"):
            if getattr(call.sampling, name) is not None:
                raise RequestRejected(f"{name} is not offered by OpenAI's completions: use chat")
        return Form()
    return _open_server(call, forms, is_chat=False)


def responses_form(call: TextCall) -> Form:
    """For /v1/responses, which writes the schema one level higher."""

    def fields(written: dict[str, Any]) -> dict[str, Any]:
        inner = written.get("json_schema", {})
        return {"text": {"format": {"type": written["type"], **inner}}}

    return _openai(call, fields)


def _open_server(call: TextCall, forms: Forms, is_chat: bool) -> Form:
    sampling = call.sampling
    if sampling.schema is not None:
        return Form(_schema_fields(call.schema, forms, is_chat))
    if sampling.regex is not None:
        return Form(_pattern_fields(sampling.regex, forms))
    if sampling.choices is None:
        return Form()
    if forms == "teola":
        return Form({"choices": list(sampling.choices)})
    if forms == "vllm":
        return Form({"structured_outputs": {"choice": list(sampling.choices)}})
    return Form(_pattern_fields(alternatives(sampling.choices), forms))


def _schema_fields(schema: Any, forms: Forms, is_chat: bool) -> dict[str, Any]:
    if forms == "vllm":
        return {"structured_outputs": {"json": with_spacing(schema)}}
    if forms == "sglang" and not is_chat:
        return {"json_schema": json.dumps(schema)}
    return {"response_format": _response_format(schema, None)}


def _pattern_fields(pattern: str, forms: Forms) -> dict[str, Any]:
    return {"structured_outputs": {"regex": pattern}} if forms == "vllm" else {"regex": pattern}


def alternatives(choices: Iterable[str]) -> str:
    """A pattern of these texts alone, in what all dialects of regular expressions share."""
    return "|".join(f"({_SPECIAL.sub(_ESCAPED, one)})" for one in choices)


def _openai(call: TextCall, fields: Callable[[dict[str, Any]], dict[str, Any]]) -> Form:
    sampling = call.sampling
    if sampling.regex is not None:
        raise RequestRejected(
            "regex is not offered by OpenAI's API: use a schema with a pattern, or choices"
        )
    if sampling.choices is not None:
        wrapped = _wrapped({"type": "string", "enum": list(sampling.choices)})
        written = _response_format(wrapped, is_strict=True)
        return Form(fields(written), choice_in_object, _WRAPPING_TOKENS)
    if sampling.schema is None:
        return Form()
    if call.schema == _ANY_OBJECT:
        return Form(fields({"type": "json_object"}))
    return _openai_schema(call.schema, fields)


def _openai_schema(schema: Any, fields: Callable[[dict[str, Any]], dict[str, Any]]) -> Form:
    is_object = isinstance(schema, Mapping) and schema.get("type") == "object"
    asked = schema if is_object else _wrapped(schema)
    try:
        written = _response_format(strict_schema(asked), is_strict=True)
    except NotStrict:
        written = _response_format(asked, is_strict=False)
    if is_object:
        return Form(fields(written))
    return Form(fields(written), InObject, _WRAPPING_TOKENS)


def _wrapped(schema: Any) -> dict[str, Any]:
    inner = dict(schema) if isinstance(schema, Mapping) else schema
    shared = {}
    for name in ("$defs", "definitions"):  # references are from the root
        if isinstance(inner, dict) and name in inner:
            shared[name] = inner.pop(name)
    return {
        "type": "object",
        "properties": {KEY: inner},
        "required": [KEY],
        "additionalProperties": False,
        **shared,
    }


def _response_format(schema: Any, is_strict: bool | None) -> dict[str, Any]:
    strictness = {} if is_strict is None else {"strict": is_strict}
    return {"type": "json_schema", "json_schema": {"name": NAME, "schema": schema, **strictness}}


def check_answer(call: TextCall, text: str) -> None:
    """Raises AnswerInvalid where a whole answer is not of the form that was asked for."""
    sampling = call.sampling
    if sampling.choices is not None and text not in sampling.choices:
        raise AnswerInvalid(f"the answer {_short(text)} is none of the choices")
    if sampling.regex is not None and not _matches(sampling.regex, text):
        raise AnswerInvalid(f"the answer {_short(text)} does not match {sampling.regex!r}")
    if sampling.schema is not None:
        _check_schema(call.schema, text)


def _check_schema(schema: Any, text: str) -> None:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AnswerInvalid(f"the answer {_short(text)} is not JSON: {error}") from error
    fault = first_fault(value, schema)
    if fault:
        raise AnswerInvalid(f"the answer {_short(text)} breaks its schema: {fault}")


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text) is not None
    except re.error:  # in the server's dialect alone
        return True


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
