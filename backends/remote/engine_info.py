"""What a scheme and its options say of an engine before its server is asked."""

from collections.abc import Iterable

from backends.base import Capability, EngineInfo, Kind
from backends.rate_limits import RateLimits
from backends.remote.options import RemoteOptions
from backends.remote.url import RemoteURL


def info_of(
    kind: Kind,
    url: RemoteURL,
    options: RemoteOptions,
    max_batch_items: int = 1,
    capabilities: Iterable[Capability] = (),
) -> EngineInfo:
    """With the slots, the rate limits and the `repeatable` of the options."""
    limits = RateLimits(options.requests_per_minute, options.tokens_per_minute)
    repeatable: Iterable[Capability] = ("repeatable",) if options.repeatable else ()
    return EngineInfo(
        kind,
        url.text,
        max_batch_items,
        options.concurrency,
        frozenset((*capabilities, *repeatable)),
        rate_limits=None if limits == RateLimits() else limits,
        repeats=True,
    )
