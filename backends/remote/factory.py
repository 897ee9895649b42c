"""From the URL of a server to an engine of the wanted kind, not yet connected."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, cast

from backends.base import Engine
from backends.errors import ConfigError
from backends.optional import optional_imports
from backends.remote.routing.open_routed import open_routed
from backends.remote.url import RemoteURL, parse_url

Make = Callable[[RemoteURL, Mapping[str, Any]], Engine]

_MAKERS: dict[str, str] = {
    "llm": "backends.remote.llm:make",
    "embedder": "backends.remote.embedder:make",
    "reranker": "backends.remote.reranker:make",
}


def create(kind: str, url: str, options: Mapping[str, Any]) -> Engine:
    """The engine of `url`; `start` speaks with its server. Raises ConfigError."""
    if url.startswith("sglang:") and not url.startswith("sglang://"):
        with optional_imports("sglang"):
            in_process = import_module("backends.sglang_offline.factory").create
        return cast(Engine, in_process(kind, url, options))
    parsed = parse_url(url)
    options = _with_options_of(parsed, options)
    if len(parsed.endpoints) > 1:
        return open_routed(parsed, options, partial(create_one, kind))
    return create_one(kind, parsed, options)


def _with_options_of(url: RemoteURL, options: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, _ in url.options:
        if name in options:
            raise ConfigError(f"{url.text!r} says {name}, and so does an option: leave one out")
    return {**dict(url.options), **options}


def create_one(kind: str, url: RemoteURL, options: Mapping[str, Any]) -> Engine:
    """The engine of a URL with one endpoint."""
    module, _, attribute = _MAKERS[kind].partition(":")
    return cast(Make, getattr(import_module(module), attribute))(url, options)
