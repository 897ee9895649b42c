"""The routes, the key, and errors in one shape."""

from hmac import compare_digest
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.errors import ConfigError
from teola.serving.api_errors import ApiError, from_engine
from teola.serving.chat_api import chat
from teola.serving.completions_api import complete
from teola.serving.disconnect import ClientGone
from teola.serving.embeddings_api import embed
from teola.serving.encode_api import encode_chunks
from teola.serving.metrics import CONTENT_TYPE
from teola.serving.rerank_api import rerank
from teola.serving.select_api import select
from teola.serving.served_engines import ServedEngines, engines_of
from teola.serving.tokens_api import detokenize, tokenize

OPEN_PATHS = ("/health", "/metrics")  # for probes and scrapers, who have no key


def make_app(engines: ServedEngines, api_key: str | None = None) -> Starlette:
    """An ASGI app over `engines`, which its caller starts and closes; None lets everybody in.

    Raises ConfigError for an empty key.
    """
    if api_key is not None and not api_key.strip():
        raise ConfigError("the key is empty; give none to serve everybody")
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", complete, methods=["POST"]),
            Route("/v1/select", select, methods=["POST"]),
            Route("/v1/encode", encode_chunks, methods=["POST"]),
            Route("/v1/embeddings", embed, methods=["POST"]),
            Route("/v1/rerank", rerank, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/tokenize", tokenize, methods=["POST"]),
            Route("/detokenize", detokenize, methods=["POST"]),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        middleware=[Middleware(_Edge, engines=engines, api_key=api_key)],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientGone: _client_gone,
            Exception: _own_mistake,
        },
    )
    app.state.engines = engines
    return app


async def health(request: Request) -> Response:
    """200 when requests are answered; 503 before and after."""
    if not engines_of(request).is_ready:
        raise ApiError(503, "the server is loading its models", code="not_ready")
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(engines_of(request).metrics.text(), headers={"content-type": CONTENT_TYPE})


async def models(request: Request) -> Response:
    """All models of this server."""
    return JSONResponse({"object": "list", "data": engines_of(request).cards()})


async def model(request: Request) -> Response:
    """One model, by its name or URL."""
    name = request.path_params["name"]
    for card in engines_of(request).cards():
        if name in (card["id"], card["root"]):
            return JSONResponse(card)
    raise ApiError(404, f"there is no model {name!r} here", code="model_not_found", param="model")


class _Edge:
    """Counts every request, and turns those without the key away."""

    def __init__(self, app: ASGIApp, engines: ServedEngines, api_key: str | None) -> None:
        self._app = app
        self._engines = engines
        self._api_key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        has_started = False

        def count(status: int) -> None:
            path = getattr(scope.get("route"), "path", "other")
            self._engines.metrics.count_request(path, status)

        async def counting(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                count(message["status"])
            await send(message)

        if self._is_allowed(scope):
            try:
                return await self._app(scope, receive, counting)
            except Exception:  # answered by `_own_mistake`, which Starlette calls further out
                if not has_started:
                    count(500)
                raise
        message = "send the server's key as `Authorization: Bearer KEY`"
        refusal = ApiError(401, message, code="invalid_api_key")
        return await refusal.response()(scope, receive, counting)

    def _is_allowed(self, scope: Scope) -> bool:
        if self._api_key is None or scope["path"] in OPEN_PATHS:
            return True
        scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and compare_digest(key.lstrip(b" "), self._api_key)


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


async def _client_gone(request: Request, _: Exception) -> Response:
    engines_of(request).metrics.count_abort()
    return Response(status_code=499)


async def _own_mistake(_: Request, error: Exception) -> Response:
    return from_engine(error, "").response()
