"""Whatever ends a request early, as an answer in one shape."""

from collections.abc import Mapping
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from teola.serving.api_errors import ApiError, from_engine
from teola.serving.disconnect import ClientGone, mark_gone
from teola.serving.metrics import Metrics


def error_answers(metrics: Metrics) -> Mapping[Any, Any]:
    """Starlette's exception handlers of a server that counts with `metrics`."""

    async def client_gone(request: Request, _: Exception) -> Response:
        mark_gone(request.scope)
        metrics.count_abort()
        return Response(status_code=499)

    return {
        ApiError: _api_error,
        HTTPException: _http_error,
        ClientGone: client_gone,
        ClientDisconnect: client_gone,  # while its body came
        Exception: _own_mistake,
    }


async def _api_error(_: Request, error: Exception) -> Response:
    return cast(ApiError, error).response()


async def _http_error(request: Request, raised: Exception) -> Response:
    """Starlette's own: an unknown path, a wrong method."""
    error = cast(HTTPException, raised)
    status = error.status_code
    what = f"{request.method} {request.url.path}: {error.detail}"
    answer = ApiError(status, what, code="not_found" if status == 404 else None).response()
    answer.headers.update(error.headers or {})
    return answer


async def _own_mistake(_: Request, error: Exception) -> Response:
    return from_engine(error, "").response()
