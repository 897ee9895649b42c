"""A server's answer: its status, its content type, its JSON."""

import time
from typing import Any

import httpx
import jiter

from backends.errors import EngineError
from backends.remote.errors import from_event, from_status
from backends.remote.limits import read_retry_after
from backends.remote.sse import Decoder, JSONLinesDecoder, SSEDecoder

_DECODERS: dict[str, type[Decoder]] = {
    "text/event-stream": SSEDecoder,
    "application/x-ndjson": JSONLinesDecoder,
    "application/jsonl": JSONLinesDecoder,
}
_SHOWN = 120  # characters of an answer that is not what it should be


async def check_status(response: httpx.Response, where: str, key_hint: str) -> None:
    """Raises what a status other than 2xx means, with the server's own words."""
    status = response.status_code
    if status < 300:
        return
    if status < 400:
        to = response.headers.get("location", "another address")
        raise EngineError(f"{where}: {status}: it redirects to {to}; write that address")
    await response.aread()
    raise from_status(
        status,
        _body_of(response),
        where,
        retry_after_s=read_retry_after(response.headers, time.time()),
        key_hint=key_hint,
    )


def read_json(response: httpx.Response, where: str) -> Any:
    """The body as JSON, None if it is empty; raises EngineError, also for an error in a 200."""
    if not response.content.strip():
        return None
    try:
        value = jiter.from_json(response.content)
    except ValueError:
        raise EngineError(f"{where}: {_not_as_asked(response, 'JSON')}") from None
    if error := from_event(value, where):
        raise error
    return value


def read_text(response: httpx.Response, _where: str) -> str:
    """The body as it is."""
    return response.text


async def decoder_of(response: httpx.Response, where: str) -> Decoder:
    """By the content type; raises what else the answer says, or EngineError."""
    decoder = _DECODERS.get(_content_type(response))
    if decoder is not None:
        return decoder()
    await response.aread()
    if error := from_event(_body_of(response), where):
        raise error
    raise EngineError(f"{where}: {_not_as_asked(response, 'a stream of events')}")


def _not_as_asked(response: httpx.Response, wanted: str) -> str:
    found = _content_type(response) or "no content type"
    return f"answered with {found}, not {wanted}: {response.text[:_SHOWN]!r}"


def _content_type(response: httpx.Response) -> str:
    text: str = response.headers.get("content-type", "")
    return text.partition(";")[0].strip().lower()


def _body_of(response: httpx.Response) -> Any:
    try:
        return jiter.from_json(response.content)
    except ValueError:
        return "" if _content_type(response) == "text/html" else response.text
