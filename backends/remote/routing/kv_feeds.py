"""Which KV events are subscribed to: those named by the option, or those that vLLM offers."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from backends.errors import ConfigError, EngineError
from backends.optional import optional_imports
from backends.remote.client import Client
from backends.remote.options import RemoteOptions
from backends.remote.routing.endpoint import Endpoint
from backends.remote.routing.kv_events import (
    EXTRA,
    KVSource,
    KVSubscription,
    can_subscribe,
    offered_sources,
)
from backends.remote.url import RemoteURL

FindSources = Callable[[str], Awaitable[Sequence[KVSource]]]  # of an endpoint, by its root URL

_log = logging.getLogger(__name__)


class KVFeeds:
    """All subscriptions of one engine. Without events the router goes by what it sent itself."""

    def __init__(self, find: FindSources | None) -> None:
        self._find = find
        self._open: list[KVSubscription] = []

    async def open(self, endpoint: Endpoint) -> None:
        """Subscribe to the events of an endpoint that answers for the first time."""
        if self._find is None or endpoint.caches:
            return
        found = [KVSubscription(source) for source in await self._find(endpoint.url)]
        self._open += found
        endpoint.caches = [subscription.blocks for subscription in found]

    async def close(self) -> None:
        for subscription in self._open:
            await subscription.close()
        self._open.clear()


def finder_of(
    url: RemoteURL, wanted: bool | str | Sequence[str], options: Mapping[str, Any]
) -> FindSources | None:
    """Raises ConfigError for another number of addresses than of endpoints, EngineUnavailable where
    addresses are named and the packages are missing."""
    if isinstance(wanted, bool):
        is_offered = wanted and url.scheme == "vllm" and can_subscribe()
        return _offered_by(url, options) if is_offered else None
    addresses = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    if len(addresses) != len(url.endpoints):
        raise ConfigError(
            f"{url.text!r} has {len(url.endpoints)} endpoints, and kv_events names "
            f"{len(addresses)} addresses; name one for each, in their order"
        )
    with optional_imports(EXTRA):
        import msgspec  # noqa: F401
        import zmq  # noqa: F401
    roots = [endpoint.root for endpoint in url.endpoints]
    named = dict(zip(roots, map(KVSource, addresses), strict=True))

    async def find(root: str) -> Sequence[KVSource]:
        return [named[root]]

    return find


def _offered_by(url: RemoteURL, options: Mapping[str, Any]) -> FindSources:
    endpoints = {endpoint.root: endpoint for endpoint in url.endpoints}
    known = {name: value for name, value in options.items() if name in RemoteOptions.model_fields}

    async def find(root: str) -> Sequence[KVSource]:
        client = Client(endpoints[root], RemoteOptions.model_validate(known))
        try:
            return await offered_sources(client)
        except EngineError as error:
            _log.info("%s offers no KV events: %s", root, error)
            return []
        finally:
            await client.close()

    return find
