"""Ports to listen on: a free one, or the one that was asked for."""

import errno
import socket

from backends.errors import ConfigError, EngineUnavailable

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def pick_port(host: str, port: int) -> int:
    """`port` if it can be had, a free one for 0. Raises EngineUnavailable or ConfigError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            found: int = probe.getsockname()[1]
            return found
    except socket.gaierror as error:
        raise ConfigError(f"--host {host!r} is no address of this machine: {error}") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        raise EngineUnavailable(
            f"port {port} on {host} is taken by another program; --port 0 takes a free one"
        ) from error


def reachable(host: str) -> str:
    """The address by which this machine reaches a server that listens on `host`."""
    found = _EVERYWHERE.get(host, host)
    return f"[{found}]" if ":" in found else found
