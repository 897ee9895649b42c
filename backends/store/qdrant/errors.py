"""Errors of qdrant's client as those of engines."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from pydantic import ValidationError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from backends.errors import (
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    RequestRejected,
    RequestTooLong,
)

_STATUSES: dict[int, type[EngineError]] = {
    400: RequestRejected,
    401: EngineUnavailable,
    403: EngineUnavailable,
    404: EngineUnavailable,
    409: EngineOverloaded,
    413: RequestTooLong,
    422: RequestRejected,
    429: EngineOverloaded,
    502: EngineUnavailable,
    503: EngineUnavailable,
    504: EngineUnavailable,
}
_HINTS = {
    401: "set QDRANT_API_KEY, or name another variable by api_key_env=",
    403: "the key may not do this",
    404: "was the collection removed?",
}


@contextmanager
def mapped(name: str) -> Iterator[None]:
    """Turns every error of the client into an EngineError that names the server."""
    try:
        yield
    except UnexpectedResponse as error:
        status = error.status_code or 0
        content = error.content[:300].decode("utf-8", "replace")
        hint = f" ({_HINTS[status]})" if status in _HINTS else ""
        text = f"{name} answered {status}: {content}{hint}"
        raise _STATUSES.get(status, EngineError)(text) from None
    except ResourceExhaustedResponse as error:
        wait = f"; try again in {error.retry_after_s} s"
        raise EngineOverloaded(f"{name}: {error}{wait}") from None
    except ResponseHandlingException as error:
        raise _of_source(error.source, name) from None
    except (ApiException, QdrantException, httpx.HTTPError, ValidationError) as error:
        raise _of_source(error, name) from None
    except (OSError, ValueError, RuntimeError, AssertionError) as error:  # qdrant in this process
        if isinstance(error, EngineError):
            raise
        raise _of_source(error, name) from error


def is_lost(error: Exception) -> bool:
    """Whether the connection broke, so that the same call may be made again."""
    source = error.source if isinstance(error, ResponseHandlingException) else error
    return isinstance(source, httpx.NetworkError | httpx.RemoteProtocolError)


def _of_source(source: Exception, name: str) -> EngineError:
    reason = " ".join(str(source).split()) or type(source).__name__
    if isinstance(source, httpx.TimeoutException):
        return EngineUnavailable(f"{name}: no answer in time ({type(source).__name__}, timeout_s)")
    if isinstance(source, httpx.TransportError | OSError | RuntimeError):
        return EngineUnavailable(f"{name}: {reason}")
    if isinstance(source, ValidationError):
        problem = source.errors(include_url=False, include_input=False)[0]["msg"]
        return EngineError(f"{name} gave an answer that is not qdrant's: {problem}")
    return EngineError(f"{name}: {reason}")
