"""The routes of a service of apps."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backends.errors import ConfigError
from teola.app_serving.chat_api import chat
from teola.app_serving.models_api import model, models
from teola.app_serving.runs_api import cancel_run, get_app, get_run, list_apps, start_run
from teola.app_serving.service import AppService, service_of
from teola.serving.access_log import Access
from teola.serving.api_errors import ApiError
from teola.serving.bodies import Bodies
from teola.serving.edge import Edge
from teola.serving.error_answers import error_answers
from teola.serving.limits import DEFAULT_LIMITS, Limits
from teola.serving.metrics import CONTENT_TYPE


def make_app(
    service: AppService,
    api_key: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    note: Callable[[Access], None] | None = None,
    origins: Sequence[str] = (),
) -> Starlette:
    """An ASGI app over `service`, which its caller starts and closes. Without a key everybody is
    let in; pages of `origins` may call it from browsers; `note` is told of each request that was
    answered.

    Raises ConfigError for an empty key.
    """
    if api_key is not None and not api_key.strip():
        raise ConfigError("the key is empty; give none to serve everybody")
    edge = Middleware(Edge, metrics=service.metrics, api_key=api_key, note=note)
    app = Starlette(
        routes=[
            Route("/v1/apps", list_apps),
            Route("/v1/apps/{name}", get_app),
            Route("/v1/apps/{name}/runs", start_run, methods=["POST"]),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/runs/{id}", get_run),
            Route("/v1/runs/{id}/cancel", cancel_run, methods=["POST"]),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        middleware=[*_for_browsers(origins), edge],
        exception_handlers=error_answers(service.metrics),
    )
    app.state.service = service
    app.state.bodies = Bodies(limits)
    return app


def _for_browsers(origins: Sequence[str]) -> list[Middleware]:
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id"],
        )
    ]


async def health(request: Request) -> Response:
    """200 when runs are taken; 503 before and after."""
    if not service_of(request).is_ready:
        raise ApiError(503, "the server is starting, or closing", code="not_ready")
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(service_of(request).metrics.text(), headers={"content-type": CONTENT_TYPE})
