"""What an engine says of its KV cache, as metrics: asked for when somebody scrapes."""

from collections.abc import Iterator
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
    )
)


@runtime_checkable
class HasCacheStats(Protocol):
    """What an LLM engine may offer beside the Engine protocol."""

    def cache_stats(self) -> Any:
        """A dataclass of numbers. Raises EngineUnavailable before `start`."""


class CacheCollector(Collector):
    """`teola_kv_free_pages`, `teola_kv_evicted_pages_total` and so on."""

    def __init__(self, engine: HasCacheStats) -> None:
        self._engine = engine

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        try:
            stats = self._engine.cache_stats()
        except EngineUnavailable:
            return
        for field in fields(stats):
            family = GaugeMetricFamily if field.name in _GAUGES else CounterMetricFamily
            about = field.name.replace("_", " ")
            value = getattr(stats, field.name)
            yield family(f"teola_kv_{field.name}", f"KV cache: {about}", value=value)
