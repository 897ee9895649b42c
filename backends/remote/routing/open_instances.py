"""From `URL|URL|...` to one engine over engines of any scheme, which have the same model.

llm = tl.LLM("process:local:smollm2-135m|teola://gpu1:30000", routing="least_loaded")
"""

from collections.abc import Mapping
from typing import Any, cast

from backends.base import Engine, Kind
from backends.errors import ConfigError
from backends.options import read_options
from backends.registry import EngineSpec, create, is_server
from backends.remote.routing.open_routed import RoutingOptions, SharesContexts
from backends.remote.routing.routed_engine import RoutedEngine
from backends.service_options import ServiceOptions
from backends.url_options import instances_in


def open_instances(kind: str, url: str, options: Mapping[str, Any]) -> RoutedEngine:
    """All options but those of routing are each engine's. Raises ConfigError, also for an LLM whose
    contexts are in its own memory, where no other engine can go on from them."""
    own = {name: options[name] for name in RoutingOptions.model_fields if name in options}
    if "kv_events" in own:
        raise ConfigError(f"{url!r}: kv_events is for several endpoints in one URL")
    settings = read_options(RoutingOptions, url, own)
    others = {name: value for name, value in options.items() if name not in own}
    engines = {one: _one(kind, one, others) for one in _names(url)}
    for name, engine in engines.items():
        _check_contexts(name, engine)
    routed = RoutedEngine(url, engines, settings.routing, hedge=settings.hedge_s)
    for engine in engines.values():
        if isinstance(engine, SharesContexts):
            engine.share_contexts(routed)
    return routed


def _names(url: str) -> list[str]:
    names = instances_in(url)
    if len(set(names)) < len(names):
        raise ConfigError(f"{url!r} names an instance twice; for processes write instances=2")
    return names


def _one(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    if is_server(kind, url):
        options = {**options, "retries": 0}  # another instance is the better retry
    else:
        _check_own(EngineSpec(cast(Kind, kind), url))
    return create(EngineSpec(cast(Kind, kind), url, options))


def _check_own(alone: EngineSpec) -> None:
    for name in alone.options.keys() & ServiceOptions.model_fields.keys():
        raise ConfigError(
            f"{alone.url!r}: {name} is not of one instance but of all: write it behind the last of "
            f"them, URL|URL|?{name}={alone.options[name]}"
        )


def _check_contexts(url: str, engine: Engine) -> None:
    info = engine.info
    if info.kind == "llm" and "prefill" in info.capabilities and "warm_up" not in info.capabilities:
        raise ConfigError(
            f"{url!r} keeps contexts in its own memory, where no other instance can go on from "
            f"them; write process:{url}, whose contexts stay with the client"
        )
