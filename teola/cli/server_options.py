"""The options that every server has, written once: `teola serve` and `teola serve-engine`."""

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from teola.cli.failures import UsageError
from teola.network import is_loopback
from teola.serving.limits import MIB, Limits

if TYPE_CHECKING:
    from teola.serving.process import ServerSettings

KEY_VARIABLE = "TEOLA_API_KEY"
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+")  # extensions and desktop apps have some too
_HOST = re.compile(r"\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Each field is an option of the command line; `port` has a default of each command's own."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0
    api_key: Annotated[
        str | None, typer.Option(envvar=KEY_VARIABLE, help="Clients must send it.")
    ] = None
    drain: Annotated[
        float, typer.Option(min=1, help="Seconds for running requests after SIGTERM.")
    ] = 30.0
    max_body_mb: Annotated[
        float, typer.Option(min=0.01, help="MiB of a request's body; larger ones get 413.")
    ] = 16.0
    max_body_items: Annotated[
        int, typer.Option(min=1, help="Items of all lists and objects of a body together.")
    ] = 2**18
    max_connections: Annotated[
        int, typer.Option(min=1, help="One more takes the place of the longest idle.")
    ] = 1024
    header_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the head of a request.")
    ] = 10.0
    body_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the body of a request.")
    ] = 30.0
    access_log: Annotated[
        str | None, typer.Option(metavar="FILE", help="One line of JSON a request; -: stderr.")
    ] = None
    otel: Annotated[
        str | None, typer.Option(metavar="URL", help="Send OpenTelemetry spans there; env: as set.")
    ] = None
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Web pages that may call it; *: all; repeatable."),
    ] = None
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name of it, as of a proxy; *: all; repeatable."),
    ] = None

    @property
    def origins(self) -> tuple[str, ...]:
        """Of the pages that may call it. Raises UsageError for what no browser would send."""
        for origin in self.cors or ():
            if not _ORIGIN.fullmatch(origin):
                why = "write an origin like https://chat.example, or *"
                raise UsageError(f"--cors {origin!r}: {why}")
        return tuple(self.cors or ())

    @property
    def hosts(self) -> tuple[str, ...]:
        """Its names beside addresses and `localhost`; a server that others reach may have any.
        Raises UsageError."""
        for name in self.allowed_host or ():
            if not _HOST.fullmatch(name):
                why = "write a name without scheme and port, like chat.example, or *"
                raise UsageError(f"--allowed-host {name!r}: {why}")
        names = tuple(name.lower() for name in self.allowed_host or ())
        is_private = self.host != "" and is_loopback(self.host)
        return names if names or is_private else ("*",)

    @property
    def limits(self) -> Limits:
        """What clients may send."""
        num_bytes = round(self.max_body_mb * MIB)
        times = (self.header_timeout, self.body_timeout)
        return Limits(num_bytes, self.max_body_items, self.max_connections, *times)

    @property
    def key(self) -> str | None:
        """What clients must send. Raises UsageError for an empty key, which would let everybody
        in; an empty variable never comes as `api_key`, since typer takes it for unset."""
        key = os.environ.get(KEY_VARIABLE) if self.api_key is None else self.api_key
        if key is not None and not key.strip():
            raise UsageError(
                f"--api-key or {KEY_VARIABLE}: the key is empty; unset it to serve all"
            )
        return key

    @property
    def settings(self) -> "ServerSettings":
        """For the server. Raises UsageError."""
        from teola.serving.process import ServerSettings  # needs the extra `serve`

        for name in ("drain", "max_body_mb", "header_timeout", "body_timeout"):
            check_finite(f"--{name.replace('_', '-')}", getattr(self, name))
        where = (self.host, self.port)
        return ServerSettings(*where, self.key, self.drain, self.limits, self.access_log)


def check_finite(name: str, value: float) -> None:
    """Raises UsageError for infinity, which typer takes for a number."""
    if not isfinite(value):
        raise UsageError(f"{name} is {value}; write a number")


def with_server_options(port: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Puts the options in the place of a command's parameter `server`."""

    def widened(command: Callable[..., None]) -> Callable[..., None]:
        own = _parameters_of(command, port)

        @wraps(command)
        def run(**given: Any) -> None:
            options = ServerOptions(**{f.name: given.pop(f.name) for f in fields(ServerOptions)})
            command(**given, server=options)

        vars(run)["__signature__"] = inspect.Signature(own)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in own}
        return run

    return widened


def _parameters_of(command: Callable[..., None], port: int) -> list[inspect.Parameter]:
    found: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        found += [*_shared(port)] if parameter.name == "server" else [parameter]
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in found]


def _shared(port: int) -> list[inspect.Parameter]:
    hints = get_type_hints(ServerOptions, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(
            field.name,
            kind,
            default=port if field.name == "port" else field.default,
            annotation=hints[field.name],
        )
        for field in fields(ServerOptions)
    ]
