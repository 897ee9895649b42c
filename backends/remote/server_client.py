"""What engines need of a client: `Client` over HTTP, or a server's engine in this process."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from backends.rate_limits import RateReport
from backends.remote.url import Endpoint


class ServerClient(Protocol):
    """Speaks JSON with one server. Raises EngineErrors that name it."""

    on_rates: Callable[[RateReport], None] | None  # called with what an answer says of rate limits

    @property
    def endpoint(self) -> Endpoint: ...

    async def get(self, path: str) -> Any:
        """The JSON at a path."""

    async def post(self, path: str, body: Mapping[str, Any], *, is_safe: bool) -> Any:
        """The JSON that answers `body`. `is_safe`: it may be sent again."""

    def stream(
        self, path: str, body: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """The events that answer `body`, as JSON."""

    async def close(self) -> None:
        """Idempotent."""
