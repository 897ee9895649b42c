"""Every failure as OpenAI's error body, with the status that clients retry, or do not, by."""

import re
from collections.abc import Mapping
from math import ceil
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from backends.errors import (
    EngineError,
    EngineLeftAlone,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)
from teola.serving.body_path import path_of
from teola.serving.escaped_json import EscapedJSON

STATUSES: Mapping[int, str] = {
    400: "The request is wrong; `param` names the field.",
    401: "The key is missing or wrong.",
    403: "The web page, or the name of the server, is not one that it was started with.",
    404: "There is no such model, or path.",
    405: "The path takes another method.",
    408: "The body came too slowly.",
    409: "The run is in another state, or waits for a person.",
    410: "The run was cancelled.",
    413: "The body is too large.",
    415: "The body is compressed.",
    429: "The queue is full: come again.",
    499: "The client is gone: this is counted and logged, and nobody reads it.",
    500: "The engine failed.",
    503: "The server is not ready, or closing.",
    504: "The run took too long.",
}

# Attributes of a request with which an engine's refusal begins, and the fields they came from.
_SAME = (
    "regex",
    "choices",
    "stop",
    "stop_token_ids",
    "min_tokens",
    "logit_bias",
    "logprobs",
    "fusion",
    "tools",
    "tool_choice",
)
FORMS = ("schema", "regex", "choices")  # attributes of an answer's form
_FIELD_OF = {"schema": "response_format", "tool": "tools", **{name: name for name in _SAME}}


class ErrorFields(TypedDict):
    """What went wrong; code `context_length_exceeded` where a prompt is too long."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """A failure, as OpenAI writes it."""

    error: ErrorFields


NOT_AGAIN = MappingProxyType({"x-should-retry": "false"})  # to OpenAI's clients


class ApiError(Exception):
    """What a client is told."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        is_final: bool = False,
    ) -> None:
        """`is_final`: sent again, the request would do again what it has done."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_final = is_final
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    @property
    def body(self) -> ErrorBody:
        return {
            "error": {
                "message": self.message,
                "type": _type_of(self.status),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        headers: Mapping[str, str] = {}
        if self.status == 401:
            headers = {"www-authenticate": "Bearer"}
        elif self.status == 415:
            headers = {"accept-encoding": "identity"}
        elif self.is_final:
            headers = NOT_AGAIN
        elif self.status in (429, 503):
            headers = {"retry-after": str(ceil(self.retry_after_s or 1.0))}
        return EscapedJSON(self.body, self.status, headers)


def invalid(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """A field of the request is wrong."""
    return ApiError(400, message, code=code, param=param)


def from_validation(error: ValidationError, body: object) -> ApiError:
    """What pydantic found wrong with a body, under the field's path: `messages.0.content`. Of the
    forms that a field may have, the one that was followed furthest tells."""
    found = error.errors(include_url=False, include_context=False)
    same = [(path_of(one, body), one) for one in found if one["loc"][:1] == found[0]["loc"][:1]]
    path, told = max(same, key=lambda place: (len(place[0]), _is_of_its_form(place[1])))
    param = ".".join(path) or None
    code = "missing_required_parameter" if told["type"] == "missing" else "invalid_value"
    message = told["msg"].removeprefix("Value error, ")
    return invalid(param, f"{param or 'the request'}: {message}", code)


def _is_of_its_form(error: Mapping[str, Any]) -> bool:
    """Not of a form that the value does not have."""
    return not error["type"].endswith("_type")


def from_engine(error: Exception, prompt_field: str, form_field: str = "") -> ApiError:
    """An outcome of an engine; `prompt_field` is where the prompt stood in the request, and
    `form_field` where the form of the answer did."""
    text = str(error)
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestTooLong):
        return invalid(prompt_field, text, "context_length_exceeded")
    if isinstance(error, RequestRejected):
        first_word = re.match(r"\w*", text)
        assert first_word is not None, "it matches the empty text"
        if form_field and first_word[0] in FORMS:
            return invalid(form_field, text)
        return invalid(_FIELD_OF.get(first_word[0], prompt_field), text)
    if isinstance(error, EngineOverloaded):
        return ApiError(429, text, code="overloaded", retry_after_s=error.retry_after_s)
    if isinstance(error, EngineUnavailable):
        after_s = error.retry_after_s if isinstance(error, EngineLeftAlone) else None
        return ApiError(503, text, code="engine_unavailable", retry_after_s=after_s)
    if isinstance(error, EngineError):
        return ApiError(500, text, code="engine_error")
    return ApiError(500, f"{type(error).__name__}: {error}", code="internal_error")


def _type_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
