"""The server as a process: it listens at once, loads, serves, and at SIGTERM drains and ends.

While the models load, every request is answered with 503. A first SIGTERM or Ctrl-C stops
listening and lets running requests finish for `drain_s`; then they are aborted. A second Ctrl-C
does not wait.
"""

import asyncio
import gc
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import uvicorn
from prometheus_client import disable_created_metrics

from teola.serving.app import make_app
from teola.serving.listening import SignalServer, listen, url_of
from teola.serving.served_engines import ServedEngines


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where a server listens, and for whom."""

    host: str = "127.0.0.1"
    port: int = 30000  # 0: a free one
    api_key: str | None = None
    drain_s: float = 30.0


def serve(engines: ServedEngines, settings: ServerSettings, say: Callable[[str], None]) -> None:
    """Serve until a signal ends it. Raises ConfigError, or what kept an engine from loading."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # series that nobody reads
    listener = listen(settings.host, settings.port)
    config = uvicorn.Config(
        make_app(engines, settings.api_key),
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,  # clients keep connections for their next request
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        server_header=False,
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(engines, SignalServer(config), listener, say))


async def _serve(
    engines: ServedEngines,
    server: "SignalServer",
    listener: socket.socket,
    say: Callable[[str], None],
) -> None:
    url = url_of(listener)
    say(f"loading {', '.join(served.url for served in engines.served)}; listening on {url}")
    loading = asyncio.create_task(_load(engines, server, lambda: say(f"ready on {url}/v1")))
    try:
        await server.serve(sockets=[listener])
    finally:
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait((loading,))
        await engines.close()
    if not loading.cancelled():
        loading.result()


async def _load(
    engines: ServedEngines, server: "SignalServer", is_ready: Callable[[], None]
) -> None:
    try:
        await engines.start()
    except BaseException:
        server.should_exit = True
        raise
    gc.collect()
    gc.freeze()  # weights and modules stay: later collections need not look at them
    is_ready()
