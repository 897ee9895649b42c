"""What goes wrong between us and a server, as the errors that engines raise.

| what happened | error |
|---|---|
| refused, reset, no such host, TLS, a timeout | EngineUnavailable |
| 429, 503 | EngineOverloaded, with `retry_after_s` |
| 400 or 413 that speaks of the length | RequestTooLong |
| 400, 404, 405, 413, 415, 422 | RequestRejected |
| 401, 403, 407 | EngineUnavailable: names the key's environment variable |
| 408, 502, 504, 52x, a vLLM whose engine has died | EngineUnavailable |
| all other statuses, an answer that is not what was asked for | EngineError |
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from backends.errors import (
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)

MESSAGE_LEN = 500  # characters of a server's own message

_GONE = "is the server running, and is this its address?"
_MEANINGS: dict[type[Exception], tuple[type[EngineError], str]] = {
    httpx.ConnectError: (EngineUnavailable, f"no connection; {_GONE}"),
    httpx.ConnectTimeout: (EngineUnavailable, "no connection within connect_timeout_s"),
    httpx.PoolTimeout: (EngineUnavailable, "no connection became free in time"),
    httpx.ReadTimeout: (EngineUnavailable, "the server was silent for read_timeout_s"),
    httpx.WriteTimeout: (EngineUnavailable, "the server took no bytes for read_timeout_s"),
    httpx.TimeoutException: (EngineUnavailable, "timed out"),
    httpx.ReadError: (EngineUnavailable, "the connection broke before the whole answer came"),
    httpx.WriteError: (EngineUnavailable, "the connection broke while the request was sent"),
    httpx.CloseError: (EngineUnavailable, "the connection broke"),
    httpx.RemoteProtocolError: (EngineUnavailable, "the server broke the connection or HTTP"),
    httpx.ProxyError: (EngineUnavailable, "the proxy refused"),
    httpx.NetworkError: (EngineUnavailable, "the network failed"),
    httpx.UnsupportedProtocol: (EngineUnavailable, "the URL is not one of HTTP"),
    httpx.InvalidURL: (EngineUnavailable, "the URL is wrong"),
    httpx.LocalProtocolError: (EngineError, "the request breaks HTTP"),
    httpx.ProtocolError: (EngineError, "the exchange breaks HTTP"),
    httpx.DecodingError: (EngineError, "the answer's compression is broken"),
    httpx.TooManyRedirects: (EngineError, "the server redirects in a circle"),
    httpx.HTTPStatusError: (EngineError, "the server answered with an error"),
    httpx.TransportError: (EngineUnavailable, "the connection failed"),
    httpx.RequestError: (EngineError, "the request failed"),
    httpx.HTTPError: (EngineError, "HTTP failed"),
    httpx.CookieConflict: (EngineError, "the server's cookies contradict each other"),
    httpx.StreamConsumed: (EngineError, "an answer was read twice"),
    httpx.StreamClosed: (EngineError, "an answer was read after its end"),
    httpx.ResponseNotRead: (EngineError, "an answer was used before it was read"),
    httpx.RequestNotRead: (EngineError, "a request was used before it was read"),
    httpx.StreamError: (EngineError, "an answer was read out of turn"),
}
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_RESETS = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)
_TOO_LONG = re.compile(
    r"context[ _]?length|context window|maximum context|max_model_len|input is too long|"
    r"too many tokens|prompt is too long|longer than the model|exceeds? the .{0,40}(token|context)",
    re.IGNORECASE,
)
_DEAD = re.compile("EngineCore encountered an issue|EngineDeadError")  # vLLM, about to end
_LENGTH_CODE = "context_length_exceeded"
_REJECTED = (400, 413, 415, 422)
_NO_ENTRY = (401, 403, 407)
_GATEWAY = (408, 502, 504, *range(520, 531))


class RateLimited(EngineOverloaded):
    """429: the server did not begin the request."""


class Forbidden(EngineUnavailable):
    """403: the key is right, and may not do this."""


class NotFound(RequestRejected):
    """404 or 405: the server has no such path, or no such model."""


@contextmanager
def mapped_errors(where: str) -> Iterator[None]:
    """Turns what httpx raises into an EngineError that begins with `where`."""
    try:
        yield
    except tuple(_MEANINGS) as error:
        raise from_httpx(error, where) from error
    except (OSError, UnicodeError) as error:  # what httpx lets pass, such as a bad host name
        raise EngineUnavailable(f"{where}: {type(error).__name__}: {error}") from error


def from_httpx(error: Exception, where: str) -> EngineError:
    """The meaning of the nearest class of `error` that has one."""
    kind, meaning = next(_MEANINGS[cls] for cls in type(error).__mro__ if cls in _MEANINGS)
    detail = _cut(str(error))
    return kind(f"{where}: {meaning}" + (f" ({detail})" if detail else ""))


def was_never_sent(error: BaseException) -> bool:
    """The server cannot have seen the request: there was no connection."""
    return isinstance(error.__cause__, _NEVER_SENT)


def was_reset(error: BaseException) -> bool:
    """The connection broke: the server may have seen the request, or not."""
    return isinstance(error.__cause__, _RESETS)


def from_status(
    status: int, body: Any, where: str, *, retry_after_s: float | None = None, key_hint: str = ""
) -> EngineError:
    """What an answer's status and body mean; `body` is JSON or a text."""
    said = message_of(body)
    text = f"{where}: {status}" + (f": {said}" if said else "")
    if status in (429, 503):
        kind = RateLimited if status == 429 else EngineOverloaded
        return kind(text, retry_after_s=retry_after_s)
    if status in (400, 413) and (_TOO_LONG.search(said) or _code_of(body) == _LENGTH_CODE):
        return RequestTooLong(text)
    if status in (404, 405):
        return NotFound(text)
    if status in _REJECTED:
        return RequestRejected(text)
    if status in _NO_ENTRY:
        denied = Forbidden if status == 403 else EngineUnavailable
        return denied(f"{text}; {key_hint}" if key_hint else text)
    if status in _GATEWAY or (status == 500 and _DEAD.search(said)):
        return EngineUnavailable(text)
    return EngineError(text)


def from_event(body: Any, where: str) -> EngineError | None:
    """The error that an event of a stream, or the body of a 200, tells of; None: it is none."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not error:
        return None
    code = _code_of(body)
    status = int(code) if re.fullmatch(r"[45]\d\d", str(code)) else 500
    return from_status(status, body, where)


def message_of(body: Any) -> str:
    """The words in an error's body: OpenAI's, vLLM's and SGLang's, Ollama's and FastAPI's shape."""
    if isinstance(body, Mapping):
        error = body.get("error")
        if isinstance(error, Mapping):
            body = error.get("message") or error
        else:
            body = error or body.get("detail") or body.get("message") or body
    if isinstance(body, list):  # FastAPI: one object a field
        body = "; ".join(_field_error(item) for item in body)
    return _cut(body if isinstance(body, str) else "" if body is None else str(body))


def _field_error(item: Any) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    path = ".".join(str(part) for part in item.get("loc", ()))
    return f"{path}: {item.get('msg', item)}" if path else str(item.get("msg", item))


def _code_of(body: Any) -> Any:
    error = body.get("error") if isinstance(body, Mapping) else None
    found = error if isinstance(error, Mapping) else body
    return found.get("code") if isinstance(found, Mapping) else None


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MESSAGE_LEN else text[: MESSAGE_LEN - 1] + "…"
