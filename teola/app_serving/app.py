"""A service of apps as an ASGI app."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware

from backends.errors import ConfigError
from teola.app_serving.routes import routes_of
from teola.app_serving.service import AppService
from teola.serving.access_log import Access
from teola.serving.bodies import Bodies
from teola.serving.browsers import for_browsers
from teola.serving.door import ANY_HOST, Door
from teola.serving.edge import Edge
from teola.serving.error_answers import error_answers
from teola.serving.limits import DEFAULT_LIMITS, Limits
from teola.telemetry.incoming import Incoming


def make_app(
    service: AppService,
    api_key: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    note: Callable[[Access], None] | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] = ANY_HOST,
) -> Starlette:
    """An ASGI app over `service`, which its caller starts and closes. Without a key everybody is
    let in; pages of `origins` may call it from browsers; `hosts` are its names beside addresses and
    `localhost`; `note` is told of each request that was answered.

    Raises ConfigError for an empty key.
    """
    if api_key is not None and not api_key.strip():
        raise ConfigError("the key is empty; give none to serve everybody")
    door = Door(origins, hosts)
    edge = Middleware(Edge, metrics=service.metrics, api_key=api_key, note=note, door=door)
    app = Starlette(
        routes=routes_of(service),
        middleware=[*for_browsers(origins), edge, Middleware(Incoming)],
        exception_handlers=error_answers(service.metrics),
    )
    app.state.service = service
    app.state.bodies = Bodies(limits)
    return app
