"""The server as a process: it listens at once, loads, serves, and at SIGTERM drains and ends.

While the models load, every request is answered with 503. A first SIGTERM or Ctrl-C stops
listening and lets running requests finish for `drain_s`; then they are aborted. A second Ctrl-C
does not wait.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import uvicorn
from prometheus_client import disable_created_metrics

from backends.errors import ConfigError
from teola.serving.app import make_app
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
    listener = _listen(settings.host, settings.port)
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
        runner.run(_serve(engines, _Server(config), listener, say))


async def _serve(
    engines: ServedEngines, server: "_Server", listener: socket.socket, say: Callable[[str], None]
) -> None:
    url = _url(listener)
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


async def _load(engines: ServedEngines, server: "_Server", is_ready: Callable[[], None]) -> None:
    try:
        await engines.start()
    except BaseException:
        server.should_exit = True
        raise
    gc.collect()
    gc.freeze()  # weights and modules stay: later collections need not look at them
    is_ready()


class _Server(uvicorn.Server):
    """Ends with the process' own exit code: uvicorn would raise the signal again when it is done,
    before the engines are closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
