"""Which requests of browsers a server takes.

A page of any site can make its reader's browser send a POST to a server of the same machine: such a
request names the page in `Origin`. A page whose name was pointed at 127.0.0.1 after it was loaded
(DNS rebinding) even reads the answers: its requests have that name as their `Host`. Programs send
no `Origin`, and as `Host` the name that they were given.
"""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.types import Scope

from teola.serving.api_errors import ApiError

ANY_HOST = ("*",)
_SAFE = ("GET", "HEAD", "OPTIONS")  # change nothing here; who may read the answer, CORS tells
_OWN_ENDS = (".localhost", ".internal")  # nobody can register such names


@dataclass(frozen=True, slots=True)
class Door:
    """`origins` are those of the pages that may call; `hosts` are names of the server beside
    addresses and `localhost`. With "*" among them all are taken."""

    origins: Collection[str] = ()
    hosts: Collection[str] = ANY_HOST

    def refusal(self, scope: Scope) -> ApiError | None:
        """None: the request is taken."""
        host = origin = ""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1").lower()
            elif name == b"origin":
                origin = value.decode("latin-1").lower()
        if not self._is_own(host):
            message = f"{host[:100]!r} is no name of this server; start it with --allowed-host NAME"
            return ApiError(403, message, code="host_not_allowed")
        if origin and scope["method"] not in _SAFE and not self._may_call(origin, host):
            message = (
                f"pages of {origin[:100]!r} may not call this server; start it with --cors ORIGIN"
            )
            return ApiError(403, message, code="origin_not_allowed")
        return None

    def _is_own(self, host: str) -> bool:
        if "*" in self.hosts:
            return True
        name = _name_of(host)
        is_own = name in ("", "localhost", *self.hosts) or name.endswith(_OWN_ENDS)
        return is_own or _is_address(name)

    def _may_call(self, origin: str, host: str) -> bool:
        is_named = "*" in self.origins or origin in self.origins
        return is_named or origin.partition("://")[2] == host


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
