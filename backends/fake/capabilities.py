"""What a fake language model can do: as an embedded one, or like a server of some kind."""

from collections.abc import Mapping
from typing import Any

from backends.base import Capability
from backends.errors import ConfigError

_EMBEDDED: frozenset[Capability] = frozenset(
    {"prefill", "fork", "structured", "seed", "stream", "abort", "select", "tools"}
)
_WITH_CONTEXTS: frozenset[Capability] = frozenset(
    {*_EMBEDDED, "warm_up", "decode_parts", "cached_tokens"}
)
REMOTE: Mapping[str, frozenset[Capability]] = {  # what servers can do, by what they are like
    "api": frozenset({"generate", "stream", "structured", "seed", "abort", "tools"}),
    "sglang": _WITH_CONTEXTS,
    "vllm": frozenset({*_WITH_CONTEXTS, "shares_in_flight"}),
}
_OPTIONAL: Mapping[str, Capability] = {  # options that add one
    "decode_parts": "decode_parts",
    "pin": "pin",
    "next_use": "next_use",
    "chunks": "fusion",
}
_KNOWN = _WITH_CONTEXTS | {"generate", "shares_in_flight", "pin", "next_use", "fusion"}


def capabilities_of(url: str, options: Mapping[str, Any]) -> frozenset[Capability]:
    """By the URL and options of an engine. Raises ConfigError for those that there are not."""
    name = url.partition(":")[2]
    given = options.get("capabilities", name if name in REMOTE else ())
    able = REMOTE.get(given) if isinstance(given, str) else frozenset(given)
    if able is None or not able <= _KNOWN:
        raise ConfigError(
            f"unknown capabilities {given!r} of {url!r}; known: {', '.join(sorted(_KNOWN))}, "
            f"or one of the sets {', '.join(REMOTE)}"
        )
    more: set[Capability] = {name for option, name in _OPTIONAL.items() if options.get(option)}
    return (able or _EMBEDDED) | more
