"""Starts a server, waits until it takes requests, and stops it."""

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import httpx

from backends.errors import ConfigError, EngineUnavailable
from backends.processes.process_group import check_platform, identity, release, spawn, stop_group
from backends.processes.watchdog import GRACE_S
from teola.launching import records
from teola.launching.failures import SHOWN_LINES, hint, is_port_taken, tail
from teola.launching.ports import pick_port, reachable
from teola.launching.pythons import SAFE_PATH
from teola.launching.recipes import (
    Recipe,
    ServedModel,
    Settings,
    api_key_of,
    check_extra,
    command,
    without_secrets,
)
from teola.launching.records import Record

DEFAULT_WAIT_S = 1800.0  # a large model is downloaded first
_POLL_S = 0.2
_ANSWER_S = 5.0  # a health check that hangs is asked again
_PORTS_TRIED = 3


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a start is going."""

    name: str
    log: Path
    elapsed_s: float
    last_line: str


Tell = Callable[[Waiting], None]


class Server:
    """A server that this process started. Leaving the context stops it."""

    def __init__(self, recipe: Recipe, record: Record, process: subprocess.Popen[bytes]) -> None:
        self.recipe = recipe
        self.record = record
        self._process = process

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def poll(self) -> int | None:
        """The exit code once it has ended."""
        return self._process.poll()

    def wait(self) -> None:
        """Until it ends, which is never meant to happen: raises EngineUnavailable with its log."""
        code = self._process.wait()
        raise failure(self.recipe, self.record, f"has ended with exit code {code}", code)

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End all its processes, by force after `grace_s`; idempotent."""
        stop_group(self.record.pid, grace_s, self._process.poll)
        release(self._process)
        records.forget(self.record.name)

    def leave(self) -> Record:
        """Let it run on without this process: `teola engine stop` ends it."""
        release(self._process, keeps_running=True)
        return self.record


def start(
    recipe: Recipe,
    python: Path,
    model: ServedModel,
    settings: Settings,
    tell: Tell,
    *,
    wait_s: float = DEFAULT_WAIT_S,
    is_detached: bool = False,
) -> Server:
    """A server that takes requests. Raises ConfigError, or EngineUnavailable with the end of its
    log; whatever is raised, none of its processes is left."""
    check_platform()
    check_extra(settings.extra)
    wanted = recipe.port if settings.port is None else settings.port
    for attempt in range(1, _PORTS_TRIED + 1):
        port = pick_port(settings.host, wanted)
        server = _spawn(recipe, python, model, settings, port, is_detached)
        try:
            _wait_until_ready(server, tell, wait_s, api_key_of(settings.extra))
        except BaseException as error:
            server.stop()
            is_race = isinstance(error, EngineUnavailable) and is_port_taken(_tail(server))
            if wanted == 0 and is_race and attempt < _PORTS_TRIED:
                continue  # somebody took the port between our look and the server's
            raise
        return server
    raise AssertionError("the last attempt returns or raises")


def is_healthy(record: Record) -> bool:
    """Whether the server answers its health check now. One that wants a key is there, too."""
    with suppress(httpx.HTTPError), _client() as client:
        answer = client.get(record.health_url, timeout=1.0)
        return answer.is_success or answer.status_code == httpx.codes.UNAUTHORIZED
    return False


def failure(recipe: Recipe, record: Record, what: str, code: int | None) -> EngineUnavailable:
    """The error of a server that is not there, with the end of its log and what to do."""
    lines = tail(Path(record.log), 400)
    shown = "".join(f"\n  | {line}" for line in lines[-SHOWN_LINES:]) or " (it is empty)"
    advice = hint(recipe, lines, code)
    return EngineUnavailable(
        f"{record.name} {what}; the end of {record.log}:{shown}"
        + (f"\nwhat to do: {advice}" if advice else "")
    )


def _spawn(
    recipe: Recipe,
    python: Path,
    model: ServedModel,
    settings: Settings,
    port: int,
    is_detached: bool,
) -> Server:
    name = f"{recipe.name}-{port}"
    kept = [record.name for record in records.running()]
    if name in kept:
        raise ConfigError(f"{name} is running already; `teola engine stop {name}` ends it")
    records.folder().mkdir(parents=True, exist_ok=True)
    records.prune_logs(kept)
    words = command(recipe, python, model, settings, port, records.events_socket(name))
    path = records.log_path(name)
    with _private(path).open("wb") as log:
        log.write(f"$ {' '.join(without_secrets(words))}\n".encode())
        log.flush()
        variables = {**SAFE_PATH, **recipe.variables}
        variables |= {n: v for n, v in recipe.default_variables.items() if n not in os.environ}
        process = spawn(words, log, variables, is_detached=is_detached)
    authority = f"{reachable(settings.host)}:{port}"
    record = Record(
        name,
        f"{recipe.name}://{authority}/{quote(model.name)}",
        model.source,
        f"http://{authority}{recipe.health}",
        str(path),
        process.pid,
        identity(process.pid) or "",
    )
    records.keep(record)
    return Server(recipe, record, process)


def _private(path: Path) -> Path:
    path.unlink(missing_ok=True)  # what reads the log of an earlier server keeps that one
    path.touch(mode=0o600)
    return path


def _wait_until_ready(server: Server, tell: Tell, wait_s: float, key: str | None) -> None:
    began = time.monotonic()
    with _client(key) as client:
        while not _answers(client, server.record.health_url):
            elapsed_s = time.monotonic() - began
            code = server.poll()
            if code is not None:
                what = f"did not start (exit code {code})"
                raise failure(server.recipe, server.record, what, code)
            if elapsed_s > wait_s:
                what = f"did not answer within {wait_s:g} s"
                raise failure(server.recipe, server.record, what, None)
            lines = tail(Path(server.record.log), 1)
            tell(Waiting(server.record.name, Path(server.record.log), elapsed_s, "".join(lines)))
            time.sleep(_POLL_S)
    if server.poll() is not None:  # the answer came from another program
        raise failure(server.recipe, server.record, "ended while it started", server.poll())


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.HTTPError:
        return False


def _client(key: str | None = None) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    # No proxy stands before this machine.
    return httpx.Client(timeout=_ANSWER_S, trust_env=False, headers=headers)


def _tail(server: Server) -> list[str]:
    return tail(Path(server.record.log), 400)
