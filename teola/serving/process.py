"""The server as a process: it listens at once, loads, serves, and at SIGTERM drains and ends.

While the models load, every request is answered with 503. A first SIGTERM or Ctrl-C stops
listening and lets running requests, and runs in the background, finish for `drain_s`; then they are
answered with an error, a stream with an error event. A second signal does not wait.
"""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import uvicorn
from prometheus_client import disable_created_metrics
from starlette.applications import Starlette

from teola.serving.access_log import Access, AccessLog, open_log
from teola.serving.connections import Connections
from teola.serving.limits import DEFAULT_LIMITS, Limits
from teola.serving.listening import SignalServer, listen, most_connections, url_of
from teola.serving.metrics import Metrics

_SWITCH_S = 0.001  # the event loop waits so long for Python's lock where threads compute
_FULL_COLLECTION = 200  # times the middle one: it looks at all that hundreds of requests hold
_LAST_WRITES_S = 5  # for errors to reach their clients


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where a server listens, and for whom."""

    host: str = "127.0.0.1"
    port: int = 30000  # 0: a free one
    api_key: str | None = None
    drain_s: float = 30.0
    limits: Limits = DEFAULT_LIMITS
    access_log: str | None = None  # a file, or "-" for standard error


class Service(Protocol):
    """What a server serves."""

    @property
    def metrics(self) -> Metrics: ...

    @property
    def names(self) -> Sequence[str]:
        """What it loads, for people."""

    async def start(self) -> None:
        """Load; requests are answered when this returns."""

    def is_idle(self) -> bool:
        """Whether nothing runs that no client waits for."""

    def end_running(self) -> None:
        """Answer all that runs with an error; nothing new is taken."""

    async def close(self) -> None: ...


ServiceT = TypeVar("ServiceT", bound=Service)
Make = Callable[[ServiceT, str | None, Limits, Callable[[Access], None] | None], Starlette]


def serve(
    service: ServiceT, settings: ServerSettings, say: Callable[[str], None], make: Make[ServiceT]
) -> None:
    """Serve until a signal ends it what `make` makes of the service. Raises ConfigError, or what
    kept it from loading."""
    sys.setswitchinterval(_SWITCH_S)
    disable_created_metrics()  # type: ignore[no-untyped-call]  # series that nobody reads
    with ExitStack() as at_end:
        log = open_log(settings.access_log, at_end) if settings.access_log else None
        _serve_until_signal(service, settings, log, say, make)


def _serve_until_signal(
    service: ServiceT,
    settings: ServerSettings,
    log: AccessLog | None,
    say: Callable[[str], None],
    make: Make[ServiceT],
) -> None:
    most = most_connections(settings.limits.max_connections)
    limits = replace(settings.limits, max_connections=most)
    listener = listen(settings.host, settings.port)
    config = uvicorn.Config(
        make(service, settings.api_key, limits, log.note if log else None),
        http=Connections(limits, service.metrics.count_closed).protocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,  # clients keep connections for their next request
        timeout_graceful_shutdown=round(settings.drain_s) + _LAST_WRITES_S,
        server_header=False,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        server = SignalServer(config, settings.drain_s, service.end_running, service.is_idle)
        runner.run(_serve(service, server, listener, say))


async def _serve(
    service: Service,
    server: "SignalServer",
    listener: socket.socket,
    say: Callable[[str], None],
) -> None:
    url = url_of(listener)
    say(f"loading {', '.join(service.names)}; listening on {url}")
    loading = asyncio.create_task(_load(service, server, lambda: say(f"ready on {url}/v1")))
    try:
        await server.serve(sockets=[listener])
    finally:
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait((loading,))
        await service.close()
    if not loading.cancelled():
        loading.result()


async def _load(service: Service, server: "SignalServer", is_ready: Callable[[], None]) -> None:
    try:
        await service.start()
    except BaseException:
        server.should_exit = True
        raise
    gc.collect()
    gc.freeze()  # weights and modules stay: later collections need not look at them
    gc.set_threshold(*gc.get_threshold()[:2], _FULL_COLLECTION)
    is_ready()
