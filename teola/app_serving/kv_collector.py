"""The KV caches of a service's engines as metrics, read when somebody scrapes."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from backends.errors import EngineUnavailable
from teola.runner import AppRunner
from teola.serving.kv_metrics import HasCacheStats, family_of


class KVCollector(Collector):
    """`teola_kv_free_pages{engine="local:smollm2-135m"}` and so on, of the engines that apps have
    used so far; two of one URL count together."""

    def __init__(self, runner: AppRunner) -> None:
        self._runner = runner

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        told = self._told()
        for name in dict.fromkeys(name for counts in told.values() for name in counts):
            family = family_of("kv", name, "KV cache", labels=("engine",))
            for url, counts in told.items():
                if name in counts:
                    family.add_metric((url,), counts[name])
            yield family

    def _told(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for url, engine in self._runner.engines:
            with suppress(EngineUnavailable):  # not loaded yet
                if isinstance(engine, HasCacheStats):
                    counts, own = asdict(engine.cache_stats()), found.setdefault(url, {})
                    own.update({name: own.get(name, 0) + counts[name] for name in counts})
        return found
