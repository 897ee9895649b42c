"""`teola engine start | list | stop | logs | install`."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import FrameType

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backends.processes.process_group import stop_group
from teola.cli.consoles import stderr_console, stdout_console
from teola.cli.failures import UsageError, reported
from teola.cli.results import json_text
from teola.launching import records
from teola.launching.environments import environment_of, install
from teola.launching.failures import tail
from teola.launching.launch import Server, Waiting, is_healthy, start
from teola.launching.pythons import find_python
from teola.launching.recipes import Settings, recipe_of
from teola.launching.records import Record
from teola.launching.served_model import served_model
from teola.viewer.formats import seconds

_FOLLOW_S = 0.2


def start_server(
    server: str,
    model: str,
    settings: Settings,
    python: Path | None,
    wait_s: float,
    is_detached: bool,
    no_color: bool,
    debug: bool,
) -> None:
    """The whole command; ends the process when anything fails."""
    with reported(debug), _terminations_interrupt():
        console = stderr_console(no_color)
        running = launched(server, model, settings, python, console, wait_s, is_detached)
        if is_detached:
            record = running.leave()
            print(record.url, flush=True)
            console.print(f"stop it with: teola engine stop {record.name}")
            return
        try:
            print(running.record.url, flush=True)
            console.print("Ctrl-C stops it")
            running.wait()
        except KeyboardInterrupt:
            console.print(f"stopping {running.record.name}")
        finally:
            running.stop()


def launched(
    server: str,
    model: str,
    settings: Settings,
    python: Path | None,
    console: Console,
    wait_s: float,
    is_detached: bool = False,
) -> Server:
    """A server that takes requests, its start shown on `console`."""
    recipe = recipe_of(server)
    chosen = find_python(recipe, python)
    with _shown(console) as show:
        source = served_model(model, show)
        running = start(
            recipe,
            chosen,
            source,
            settings,
            lambda now: show(_described(now)),
            wait_s=wait_s,
            is_detached=is_detached,
        )
    console.print(f"{running.record.name} is ready; its log is {running.record.log}")
    return running


def show_servers(as_json: bool, no_color: bool, debug: bool) -> None:
    """The servers that run, as a table or as JSON."""
    with reported(debug):
        known = [(record, is_healthy(record)) for record in records.running()]
        if as_json:
            rows = [{**asdict(record), "is_ready": is_ready} for record, is_ready in known]
            print(json_text(rows, indent=2))
        elif known:
            stdout_console(no_color).print(_table(known))
        else:
            stderr_console(no_color).print("no server of `teola engine start` is running")


def stop_servers(word: str | None, stop_all: bool, debug: bool) -> None:
    """Stop one server, or all; says which."""
    with reported(debug):
        if stop_all and word is not None:
            raise UsageError("give the name of a server or --all, not both")
        for record in records.running() if stop_all else [records.find(word)]:
            stop_group(record.pid)
            records.forget(record.name)
            print(f"stopped {record.name}")


def show_log(word: str | None, num_lines: int, follow: bool, debug: bool) -> None:
    """The end of a log on stdout, and with `follow` what is added to it."""
    with reported(debug):
        ended = records.log_path(word) if word is not None else None
        record = None
        if ended is None or not ended.exists() or word in _names():
            record = records.find(word)
        path = Path(record.log) if record is not None else ended
        assert path is not None, "find() has raised"
        with path.open("rb") as file:
            print("\n".join(tail(path, num_lines)), flush=True)
            file.seek(0, 2)
            while follow and record is not None:
                is_last = not record.is_running
                sys.stdout.write(file.read().decode("utf-8", "replace"))
                sys.stdout.flush()
                if is_last:
                    return
                time.sleep(_FOLLOW_S)


def install_server(server: str, is_cpu: bool, no_color: bool, debug: bool) -> None:
    """Install, showing what is done; prints the environment's Python."""
    with reported(debug):
        environment = environment_of(server, is_cpu)
        console = stderr_console(no_color)
        with _shown(console) as show:
            python = install(environment, show)
        print(python)


def _names() -> list[str]:
    return [record.name for record in records.running()]


def _described(now: Waiting) -> str:
    return f"starting {now.name}, {seconds(now.elapsed_s)}: {now.last_line}"


def _table(known: list[tuple[Record, bool]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("name", "url", "model", "state", "since", "pid"):
        table.add_column(name, no_wrap=name in ("name", "state", "pid"), overflow="fold")
    for record, is_ready in known:
        since = datetime.fromtimestamp(record.began).isoformat(" ", "minutes")
        state = "ready" if is_ready else "not answering"
        table.add_row(record.name, record.url, record.model, state, since, str(record.pid))
    return table


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[str], None]]:
    """One line that renews itself on a terminal; elsewhere a line when another step begins."""
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(Text(text[: console.width - 4]))
        return
    seen: set[str] = set()

    def say(text: str) -> None:
        step = text.partition(",")[0].partition(" (")[0]
        if step not in seen:
            seen.add(step)
            console.print(step)

    yield say


@contextmanager
def _terminations_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP stop the server as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _terminations()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminations() -> list[signal.Signals]:
    return [signal.SIGTERM] if sys.platform == "win32" else [signal.SIGTERM, signal.SIGHUP]
