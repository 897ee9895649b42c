"""Around every request: the door, the key, an id, a count and a line of the access log."""

import re
from collections.abc import Callable
from hmac import compare_digest
from time import perf_counter, time
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from teola.serving.access_log import Access
from teola.serving.api_errors import ApiError
from teola.serving.disconnect import is_gone
from teola.serving.door import Door
from teola.serving.metrics import Metrics
from teola.serving.turnstile import Turnstile
from teola.serving.warnings_header import warning_headers

OPEN_PATHS = ("/health", "/metrics")  # for probes and scrapers, who have no key
_ID = re.compile(rb"[!-~]{1,128}")


class Edge:
    """The outermost of our own code. An answer has the `X-Request-Id` of its request, or one that
    is made here."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        api_key: str | None,
        note: Callable[[Access], None] | None,
        door: Door,
    ) -> None:
        self._app = app
        self._door = door
        self._metrics = metrics
        self._api_key = None if api_key is None else api_key.encode()
        self._note = note
        self._turnstile = Turnstile()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope["path"] = "/" + scope["path"].lstrip("/")  # behind an address that ends in a slash
        seen = _Seen(scope, send, self._metrics)
        try:
            if scope["path"] not in OPEN_PATHS:
                await self._turnstile.enter()
            if (refusal := self._refusal(scope)) is None:
                await self._app(scope, receive, seen.send)
            else:
                await refusal.response()(scope, receive, seen.send)
        except Exception:  # answered by `_own_mistake`, which Starlette calls further out
            if seen.status is None:
                seen.count(500)
            raise
        finally:
            if self._note is not None:
                self._note(seen.access())

    def _refusal(self, scope: Scope) -> ApiError | None:
        if scope["path"] in OPEN_PATHS:
            return None
        if (refusal := self._door.refusal(scope)) is not None or self._has_key(scope):
            return refusal
        message = "send the server's key as `Authorization: Bearer KEY`"
        return ApiError(401, message, code="invalid_api_key")

    def _has_key(self, scope: Scope) -> bool:
        if self._api_key is None:
            return True
        scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and compare_digest(key.lstrip(b" "), self._api_key)


class _Seen:
    """What is written for one request."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics) -> None:
        self.status: int | None = None
        self._scope = scope
        self._send = send
        self._metrics = metrics
        self._id = _request_id(scope)
        self._at_s, self._began_s = time(), perf_counter()
        self._first_s: float | None = None
        self._num_bytes = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.count(message["status"])
            self._first_s = perf_counter() - self._began_s
            own = ((b"x-request-id", self._id), *warning_headers(self._scope))
            headers = [*message.get("headers", ()), *own]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self._num_bytes += len(message.get("body", b""))
        await self._send(message)

    def count(self, status: int) -> None:
        self.status = status
        path = getattr(self._scope.get("route"), "path", "other")
        self._metrics.count_request(path, status)

    def access(self) -> Access:
        client = self._scope.get("client")
        return Access(
            self._at_s,
            self._id.decode(),
            f"{client[0]}:{client[1]}" if client else "",
            self._scope["method"],
            self._scope["path"],
            499 if is_gone(self._scope) or self.status is None else self.status,
            self._num_bytes,
            self._first_s,
            perf_counter() - self._began_s,
        )


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return bytes(value)
    return uuid4().hex.encode()
