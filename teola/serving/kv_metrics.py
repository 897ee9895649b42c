"""What an engine says of its KV cache and its guesses, as metrics: asked for when somebody
scrapes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from backends.errors import EngineUnavailable

_GAUGES = frozenset(
    (
        "num_pages",
        "free_pages",
        "tree_pages",
        "pinned_pages",
        "idle_contexts",
        "host_pages",
        "disk_pages",
        "is_on",
    )
)


@runtime_checkable
class HasCacheStats(Protocol):
    """What an LLM engine may offer beside the Engine protocol."""

    def cache_stats(self) -> Any:
        """A dataclass of numbers. Raises EngineUnavailable before `start`."""


@runtime_checkable
class HasSpeculationStats(Protocol):
    """The same for guessed tokens."""

    def speculation_stats(self) -> Any:
        """A dataclass of numbers. Raises EngineUnavailable before `start`."""


@runtime_checkable
class HasRecordingStats(Protocol):
    """The same for answers from a recording: of emulated engines."""

    @property
    def recording_stats(self) -> Any:
        """A dataclass of numbers."""


class StatsCollector(Collector):
    """`teola_kv_free_pages`, `teola_kv_evicted_pages_total` and so on: `name` is kv, and `about`
    begins their descriptions."""

    def __init__(self, read: Callable[[], Any], name: str, about: str) -> None:
        self._read = read
        self._name = name
        self._about = about

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        try:
            stats = self._read()
        except EngineUnavailable:
            return
        for field in fields(stats):
            family = family_of(self._name, field.name, self._about)
            family.add_metric((), getattr(stats, field.name))
            yield family


def family_of(
    name: str, field: str, about: str, labels: Sequence[str] = ()
) -> GaugeMetricFamily | CounterMetricFamily:
    """An empty family for a field of an engine's statistics; a unit ends its name, and `_total`
    says that a counter is a number."""
    is_gauge = field in _GAUGES
    family = GaugeMetricFamily if is_gauge else CounterMetricFamily
    own = field if is_gauge else field.removeprefix("num_")
    if own.startswith("bytes_"):
        own = f"{own.removeprefix('bytes_')}_bytes"
    return family(f"teola_{name}_{own}", f"{about}: {field.replace('_', ' ')}", labels=labels)
