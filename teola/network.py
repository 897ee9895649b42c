"""`tl.deny_network`: a block in which nothing of this process reaches another machine.

An audit hook of the interpreter sees every look-up of a name and every connection of Python
sockets, on whatever thread or loop: engines have their own. Hooks cannot be taken away, so one is
set at the first use and asks which blocks are open.
"""

import ipaddress
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from backends.errors import NetworkDenied

_ADDRESSED = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_NAMED = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})

_open: list["deny_network"] = []  # a new list for each change: the hook reads it without a lock
_lock = threading.Lock()
_is_hooked = False


class deny_network:  # noqa: N801 - read as a verb: `with tl.deny_network():`
    """Inside the block, connecting beyond this machine raises errors.NetworkDenied with the host.

    It holds for the whole process, for model downloads too. `loopback=False` denies 127.0.0.1 as
    well; `allow` names hosts that may be reached. Not seen are child processes and libraries that
    open sockets without Python.
    """

    def __init__(self, *, loopback: bool = True, allow: Iterable[str] = ()) -> None:
        self._loopback = loopback
        self._allowed = frozenset([allow] if isinstance(allow, str) else allow)

    def __enter__(self) -> "deny_network":
        _change(lambda blocks: [*blocks, self])
        return self

    def __exit__(self, *_: object) -> None:
        _change(lambda blocks: _without(blocks, self))

    def check(self, host: str) -> None:
        """Raises NetworkDenied for a host that may not be reached."""
        if host in self._allowed or (self._loopback and is_loopback(host)):
            return
        raise NetworkDenied(
            f"something connects to {host!r} inside tl.deny_network(): use tl.fake(...) for what "
            f"needs it, or allow=[{host!r}]"
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "" or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _change(change: Callable[[list[deny_network]], list[deny_network]]) -> None:
    global _open, _is_hooked
    with _lock:
        _open = change(_open)
        if not _is_hooked:
            sys.addaudithook(_hook)
            _is_hooked = True


def _without(blocks: list[deny_network], block: deny_network) -> list[deny_network]:
    place = blocks.index(block)
    return [*blocks[:place], *blocks[place + 1 :]]


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _open:
        return
    if event in _ADDRESSED:
        host = _host_of(*args[:2])
    elif event in _NAMED:
        host = _text(args[0])
    else:
        return
    if host is not None:
        for block in _open:
            block.check(host)


def _host_of(sock: socket.socket, address: Any) -> str | None:
    is_internet = sock.family in (socket.AF_INET, socket.AF_INET6)
    return _text(address[0]) if is_internet and isinstance(address, tuple) else None


def _text(host: Any) -> str | None:
    if isinstance(host, (bytes, bytearray)):
        return host.decode("ascii", "replace")
    return None if host is None else str(host)
