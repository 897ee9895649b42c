"""From a request's body to a pydantic model: nothing that would change the answer is dropped.

A field is read, ignored because no answer depends on it (`IGNORED`), ignored with a warning
(`WITHOUT_EFFECT`), harmless at one value and refused at all others (`UNSUPPORTED`), or unknown and
refused, as OpenAI does: a typing error in `temperature` must not pass in silence. null stands for a
field's default, but for those where it is a value (`nullable`).
"""

import gc
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    ValidationError,
)
from pydantic_core import CoreSchema, from_json
from starlette.requests import Request

from teola.serving.api_errors import ApiError, from_validation, invalid
from teola.serving.bodies import bodies_of
from teola.serving.warnings_header import warn

INT_END = 2**31  # engines hold counts and token ids in 32 bits

TokenId = Annotated[int, Field(ge=0, lt=INT_END)]

IGNORED = frozenset(
    (
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prediction",  # speeds an answer up, and never changes it
        "parallel_tool_calls",
    )
)

# Asked for by many clients for every model, whatever it is: an answer has a warning of them.
WITHOUT_EFFECT: Mapping[str, Any] = {  # name -> the value that says nothing
    "reasoning_effort": "none",
    "chat_template_kwargs": {},
    "verbosity": "medium",
    "guided_decoding_backend": "auto",
    "cache_prompt": True,  # prefixes are kept in any case
    "request_id": None,  # but for answers whose id holds it
}

Unsupported = Mapping[str, tuple[tuple[Any, ...], str]]  # name -> harmless values, why not
UNSUPPORTED: Unsupported = {
    "tools": (([],), "tools are for /v1/chat/completions"),
    "tool_choice": (("none", "auto"), "tools are for /v1/chat/completions"),
    "functions": (([],), "write tools instead"),
    "function_call": (("none", "auto"), "write tool_choice instead"),
    "modalities": ((["text"],), "models here write text only"),
    "audio": ((), "models here write text only"),
    "web_search_options": ((), "this server searches nothing"),
    "moderation": ((), "this server moderates nothing"),
    "best_of": ((1,), "write n to get several answers"),
    "suffix": (("",), "models here cannot fill in the middle"),
    "echo": ((False,), "it is for /v1/completions"),
    "use_beam_search": ((False,), "beam search is not offered"),
    "length_penalty": ((1,), "beam search is not offered"),
    "guided_grammar": ((), "write guided_json, guided_regex or guided_choice instead"),
    "guided_whitespace_pattern": ((), "write the spaces into guided_regex"),
    "skip_special_tokens": ((True,), "texts of answers have no special tokens"),
    "include_stop_str_in_output": ((False,), "an answer ends before its stop"),
    "detokenize": ((True,), "answers are texts"),
    "bad_words": (([],), "write logit_bias instead"),
    "documents": (([],), "write them into messages"),
    "truncate_prompt_tokens": ((), "shorten the prompt; one that is too long is refused"),
    "return_token_ids": ((False,), "it is for completions and chats of a model"),
}


def _stop_at_first_error(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") == "list":
            schema["fail_fast"] = True
        for part in schema.values():
            _stop_at_first_error(part)
    elif isinstance(schema, list):
        for part in schema:
            _stop_at_first_error(part)


class Fields(BaseModel):
    """A request's body. JSON's types are taken as they are: "5" is no number. A list stops at its
    first error: a message for each of a million items would take seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    derived: ClassVar[tuple[str, ...]] = ()  # cached properties that take long: read with the body
    unsupported: ClassVar[Unsupported] = UNSUPPORTED
    nullable: ClassVar[tuple[str, ...]] = ()  # fields that null is a value of, not the default
    may_be_empty: ClassVar[bool] = False  # no body is then one without fields
    _unused: tuple[str, ...] = PrivateAttr(())  # fields that were given and have no effect

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        schema = handler(source)
        _stop_at_first_error(schema)
        return schema

    @property
    def unused(self) -> tuple[str, ...]:
        """The fields that were given and have no effect."""
        return self._unused


FieldsT = TypeVar("FieldsT", bound=Fields)


async def read(request: Request, model: type[FieldsT]) -> FieldsT:
    """The body of `request`. Raises ApiError, which names the field."""
    fields = await bodies_of(request).read(request, partial(parse, model))
    warn_of(request, fields)
    return fields


def warn_of(request: Request, fields: Fields) -> None:
    """Tell with the answer which fields of its request have no effect."""
    if fields.unused:
        warn(request.scope, f"{', '.join(fields.unused)}: without effect on this server")


def parse(model: type[FieldsT], body: bytes) -> FieldsT:
    """The fields of a body, and what is derived from them. Any thread may call. Raises ApiError,
    which names the field."""
    try:
        content = _from_json(body if body or not model.may_be_empty else b"{}")
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(content, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    given = _supported(content, model)
    try:
        fields = model.model_validate(given)
        fields._unused = tuple(name for name in WITHOUT_EFFECT if _is_unused(name, content, model))
        for name in fields.derived:
            getattr(fields, name)
    except ValidationError as error:
        raise from_validation(error, given) from None
    return fields


def _is_unused(name: str, body: Mapping[str, Any], model: type[Fields]) -> bool:
    is_asked = body.get(name) not in (None, WITHOUT_EFFECT[name])
    return is_asked and name not in model.model_fields


def _from_json(body: bytes) -> Any:
    """Without looks for garbage among the new lists: Python's lock is held to the end anyway."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return from_json(body)
    finally:
        if was_enabled:
            gc.enable()


def _supported(body: Mapping[str, Any], model: type[Fields]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in body.items():
        is_passed_over = name in IGNORED or name in WITHOUT_EFFECT
        is_default = value is None and name not in model.nullable
        if is_default or (is_passed_over and name not in model.model_fields):
            continue
        if name in model.model_fields:
            found[name] = value
        elif name not in model.unsupported:
            known = ", ".join(model.model_fields)
            name = name[:100]
            raise invalid(name, f"unknown field {name!r}; known are {known}", "unknown_parameter")
        elif not _is_harmless(value, model.unsupported[name][0]):
            why = model.unsupported[name][1]
            raise invalid(name, f"{name} is not supported: {why}", "unsupported_parameter")
    return found


def _is_harmless(value: Any, harmless: tuple[Any, ...]) -> bool:
    is_bool = isinstance(value, bool)  # to Python, but not to JSON, True is 1
    return any(value == one and isinstance(one, bool) == is_bool for one in harmless)
