"""What is known of an app's engines before any of them is loaded: for passes and for plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.base import EngineInfo
from backends.errors import ConfigError
from backends.registry import EngineSpec, create
from graph_opt.facts import Facts
from graph_opt.graph import Graph
from runtime.cost.graph_cost import GraphCost
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency
from runtime.cost.profile_store import Latencies


@dataclass(frozen=True, slots=True)
class KnownEngine:
    """One engine of an app. `info` is None for one that cannot be made: a run will say why."""

    spec: EngineSpec
    info: EngineInfo | None = None
    latency: EngineLatency = field(default_factory=lambda: EngineLatency(NOTHING_MEASURED))

    @property
    def batch_items(self) -> int:
        """The most items that the runtime gives it at once."""
        return self.latency.batch_items(self.info.max_batch_items if self.info else 1)


@dataclass(frozen=True, slots=True)
class KnownEngines:
    """The engines of one app by their names in its graph."""

    engines: Mapping[str, KnownEngine] = field(default_factory=dict)

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """Equal where passes get equal facts."""
        return tuple((name, engine.spec.key) for name, engine in self.engines.items())

    @property
    def batch_items(self) -> Mapping[str, int]:
        return {name: engine.batch_items for name, engine in self.engines.items()}

    @property
    def sources(self) -> Mapping[str, str]:
        """Where the seconds of each engine come from."""
        return {name: engine.latency.source for name, engine in self.engines.items()}

    def cost(self, graph: Graph) -> GraphCost:
        """Seconds for a graph that these engines run, by their profiles or by defaults."""
        latencies = {name: engine.latency for name, engine in self.engines.items()}
        return GraphCost.of(graph, latencies)

    def facts(self, graph: Graph) -> Facts:
        """What passes may know; costs only where something was profiled."""
        able = {
            name: frozenset[str](engine.info.capabilities)
            for name, engine in self.engines.items()
            if engine.info is not None
        }
        is_profiled = any(engine.latency.is_profiled for engine in self.engines.values())
        return Facts(able, self.cost(graph) if is_profiled else None)


class EngineBook:
    """Looks engines up by their specs; each is made once to be asked, and never started."""

    def __init__(self, latencies: Latencies) -> None:
        self._latencies = latencies
        self._known: dict[str, KnownEngine] = {}  # by EngineSpec.key

    def known(self, engines: Mapping[str, EngineSpec]) -> KnownEngines:
        return KnownEngines({name: self._look_up(spec) for name, spec in engines.items()})

    def _look_up(self, spec: EngineSpec) -> KnownEngine:
        if spec.key not in self._known:
            try:
                info = create(spec).info
            except ConfigError:
                info = None
            self._known[spec.key] = KnownEngine(spec, info, self._latencies.of(spec))
        return self._known[spec.key]
