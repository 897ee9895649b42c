"""From a URL with several endpoints to one engine over all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, runtime_checkable

from backends.base import Engine
from backends.options import Options, read_options
from backends.remote.routing.hedge import After
from backends.remote.routing.kv_feeds import finder_of
from backends.remote.routing.routed_engine import RoutedEngine
from backends.remote.url import RemoteURL

MakeOne = Callable[[RemoteURL, Mapping[str, Any]], Engine]


class RoutingOptions(Options):
    """How requests are spread over endpoints. The other options are those of each endpoint."""

    routing: Literal["round_robin", "least_loaded", "prefix", "predicted_ttft"] = "predicted_ttft"
    hedge_s: After = None  # a copy of a request that is slower goes to another endpoint
    kv_events: bool | str | Sequence[str] = True  # True: where offered; else addresses in order


@runtime_checkable
class SharesContexts(Protocol):
    """What an engine offers whose contexts another engine of the same model may go on from."""

    def share_contexts(self, owner: object) -> None:
        """From now on make contexts of this owner, and take all of it."""


def open_routed(url: RemoteURL, options: Mapping[str, Any], make_one: MakeOne) -> RoutedEngine:
    """Raises ConfigError for options that neither routing nor the engines know."""
    own = {name: options[name] for name in RoutingOptions.model_fields if name in options}
    settings = read_options(RoutingOptions, url.text, own)
    others = {name: value for name, value in options.items() if name not in own}
    others.setdefault("retries", 0)  # another endpoint is the better retry
    engines = {
        endpoint.root: make_one(replace(url, endpoints=(endpoint,)), others)
        for endpoint in url.endpoints
    }
    find = finder_of(url, settings.kv_events, others)
    routed = RoutedEngine(url.text, engines, settings.routing, find, hedge=settings.hedge_s)
    for engine in engines.values():
        if isinstance(engine, SharesContexts):
            engine.share_contexts(routed)
    return routed
