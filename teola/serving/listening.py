"""Listening for HTTP, and ending at a signal."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn

from backends.errors import ConfigError

_LOOK_S = 0.05  # a signal's handler cannot wake who waits
_LAST_WORDS_S = 2.0  # for the errors of answers that a second signal ends
_SPARE_FILES = 256  # beside connections: models, tiers, connections to other servers

_log = logging.getLogger("uvicorn.error")


class SignalServer(uvicorn.Server):
    """Ends with the process' own exit code: uvicorn would raise the signal again when it is done,
    before the engines are closed. It waits for requests, and for what runs without a client until
    `is_idle`. `end_running` is called when some of that still runs `drain_s` after the signal, or
    at a second signal."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain_s: float = 0.0,
        end_running: Callable[[], None] = lambda: None,
        is_idle: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(config)
        self._drain_s = drain_s
        self._end_running = end_running
        self._is_idle = is_idle

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        timer = asyncio.get_running_loop().call_later(self._drain_s, self._end_running)
        with _cuts_untold():
            try:
                await super().shutdown(sockets)
                while not self._is_idle() and not self.force_exit:
                    await asyncio.sleep(_LOOK_S)
            finally:
                timer.cancel()
            await self._end_answers()

    async def _end_answers(self) -> None:
        """Those that are still written end with an error, and those that nobody reads are cut."""
        if not (tasks := [*self.server_state.tasks]):
            return
        _log.warning("ended what still ran: %d answers", len(tasks))
        self._end_running()
        _, late = await asyncio.wait(tasks, timeout=_LAST_WORDS_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_LAST_WORDS_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal drains; a second one, of either kind, does not wait."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _cuts_untold() -> Iterator[None]:
    """uvicorn would log a traceback for each answer that is cut."""

    def is_no_cut(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))

    _log.addFilter(is_no_cut)
    try:
        yield
    finally:
        _log.removeFilter(is_no_cut)


def listen(host: str, port: int) -> socket.socket:
    """Port 0 is a free one. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


def most_connections(wanted: int) -> int:
    """So many of them as this process may have files open; raises its soft limit as needed."""
    with suppress(ImportError, OSError, ValueError):  # a system without such limits
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < wanted + _SPARE_FILES:
            most = wanted + _SPARE_FILES
            soft = most if hard == resource.RLIM_INFINITY else min(hard, most)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            return max(1, min(wanted, soft - _SPARE_FILES))
    return wanted


def url_of(listener: socket.socket) -> str:
    """Where a listener is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
