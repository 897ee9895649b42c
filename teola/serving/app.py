"""The engine server as an ASGI app."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware

from backends.errors import ConfigError
from backends.optional import optional_imports
from teola.serving.access_log import Access
from teola.serving.bodies import Bodies
from teola.serving.browsers import for_browsers
from teola.serving.door import ANY_HOST, Door
from teola.serving.edge import Edge
from teola.serving.error_answers import error_answers
from teola.serving.limits import DEFAULT_LIMITS, Limits
from teola.serving.openapi import document_route
from teola.serving.routes import OPERATIONS
from teola.serving.served_engines import ServedEngines
from teola.telemetry.otel import Otel


def make_app(
    engines: ServedEngines,
    api_key: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    note: Callable[[Access], None] | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] = ANY_HOST,
    otel: Otel | None = None,
) -> Starlette:
    """An ASGI app over `engines`, which its caller starts and closes. Without a key everybody is
    let in; `note` is told of each request that was answered; pages of `origins` may call it from
    browsers; `hosts` are its names beside addresses and `localhost`; `otel` says where spans go.

    Raises ConfigError for an empty key, and EngineUnavailable where packages for spans are missing.
    """
    if api_key is not None and not api_key.strip():
        raise ConfigError("the key is empty; give none to serve everybody")
    app = Starlette(
        routes=[
            *(operation.route for operation in OPERATIONS),
            document_route(OPERATIONS),
        ],
        middleware=[
            *for_browsers(origins),
            *([] if otel is None else [_with_spans(otel)]),
            Middleware(
                Edge,
                metrics=engines.metrics,
                api_key=api_key,
                note=note,
                door=Door(origins, hosts),
            ),
        ],
        exception_handlers=error_answers(engines.metrics),
    )
    app.state.engines = engines
    app.state.bodies = Bodies(limits)
    return app


def _with_spans(otel: Otel) -> Middleware:
    with optional_imports("otel"):
        from teola.telemetry.server import ServerSpans

    return Middleware(ServerSpans, otel=otel)
