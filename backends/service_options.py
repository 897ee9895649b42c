"""Options of every LLM, embedder and reranker, whatever its scheme: the runtime keeps to them.

Engines at servers (`vllm://` ...) have `retries` and `timeout_s` of their own, which count there.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from backends.options import Options, read_options

DEFAULT_RETRIES = 2
DEFAULT_WAITING = 10_000

_KINDS = ("llm", "embedder", "reranker")
_OF_SERVERS = ("retries", "timeout_s")


class ServiceOptions(Options):
    """What the runtime does about an engine that fails, takes too long or is too busy."""

    retries: int = Field(default=DEFAULT_RETRIES, ge=0, le=100)  # of work without effects
    timeout_s: float | None = Field(default=None, gt=0)  # of one request at the engine
    max_waiting: int = Field(default=DEFAULT_WAITING, ge=1)  # beyond it no new query is taken


def split_options(
    kind: str, url: str, options: Mapping[str, Any], *, is_server: bool
) -> tuple[ServiceOptions, dict[str, Any]]:
    """The runtime's, and those of the engine's factory. Raises ConfigError for a wrong value."""
    if kind not in _KINDS:
        return ServiceOptions(), dict(options)
    names = set(ServiceOptions.model_fields)
    if is_server:
        names.difference_update(_OF_SERVERS)
    own = {name: value for name, value in options.items() if name in names}
    return read_options(ServiceOptions, url, own), {
        name: value for name, value in options.items() if name not in names
    }
