"""`teola top [URL...]`: what servers do now, live, or once for scripts."""

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from types import FrameType

from rich.console import Console
from rich.live import Live

from teola.cli.consoles import stdout_console
from teola.cli.failures import CommandError, UsageError, reported
from teola.cli.results import json_text
from teola.top.keys import keys
from teola.top.screen import screen
from teola.top.server import Server
from teola.top.views import ORDERS, ServerView

DEFAULT_URLS = ("http://127.0.0.1:8000", "http://127.0.0.1:30000")  # of serve and serve-engine
_TERMINATED = 128 + signal.SIGTERM


def show_top(
    urls: Sequence[str],
    api_key: str | None,
    interval_s: float,
    order: str,
    once: bool,
    as_json: bool,
    no_color: bool,
    debug: bool,
) -> None:
    """The whole command; ends the process when anything fails."""
    with reported(debug), ExitStack() as stack:
        if order not in ORDERS:
            raise UsageError(f"--sort is {', '.join(ORDERS)}, not {order!r}")
        servers = Servers([Server(url, api_key) for url in urls or DEFAULT_URLS], bool(urls))
        stack.callback(servers.close)
        console = stdout_console(no_color)
        if once or as_json or not console.is_terminal:
            _print_once(servers, console, interval_s, order, as_json)
        else:
            _show_live(servers, console, interval_s, order)


class Servers:
    """All are asked at once; of those that nobody named, only the ones that are there count."""

    def __init__(self, servers: Sequence[Server], are_named: bool) -> None:
        self._servers = servers
        self._are_named = are_named
        self._pool = ThreadPoolExecutor(len(servers), "teola-top")

    def look(self) -> list[ServerView]:
        views = list(self._pool.map(Server.look, self._servers))
        found = [view for view in views if not view.problem]
        return found if found and not self._are_named else views

    def close(self) -> None:
        self._pool.shutdown()
        for server in self._servers:
            server.close()


def _print_once(
    servers: Servers, console: Console, interval_s: float, order: str, as_json: bool
) -> None:
    views = servers.look()
    if all(view.problem for view in views):
        problems = "; ".join(f"{view.url}: {view.problem}" for view in views)
        raise CommandError(f"no server to show: {problems}")
    time.sleep(interval_s)  # rates need two looks
    views = servers.look()
    if as_json:
        print(json_text({"servers": [asdict(view) for view in views]}, indent=2))
    else:
        console.print(screen(views, console.width, order=order))


def _show_live(servers: Servers, console: Console, interval_s: float, order: str) -> None:
    live = Live(console=console, screen=True, auto_refresh=False)
    with _ended_by_signals(), keys() as pressed, live:
        while True:
            view = screen(servers.look(), console.width, console.height, order)
            live.update(view, refresh=True)
            key = pressed.wait(interval_s)
            if key in ("q", "Q"):
                return
            if key == "s":
                order = ORDERS[(ORDERS.index(order) + 1) % len(ORDERS)]


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Ctrl-C is a way to leave; after a SIGTERM the terminal is as it was, too."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)
