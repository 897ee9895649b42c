"""What is known of an app's engines before any of them is loaded: for passes and for plans."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backends.base import Capability, Engine, EngineInfo
from backends.errors import ConfigError
from backends.registry import EngineSpec, create
from graph_opt.analysis.fusion_choices import wants_fusion
from graph_opt.facts import Facts, FusionFacts, PlanQuality
from graph_opt.graph import Graph
from runtime.cost.graph_cost import GraphCost
from runtime.cost.latency import NOTHING_MEASURED, EngineLatency
from runtime.cost.profile_store import Latencies
from teola.device_work import Placed

_OF_CACHES: frozenset[Capability] = frozenset({"warm_up", "cached_tokens"})


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

    @property
    def fusion_floor(self) -> float | None:
        """The least R of the plans that it takes; None: that of its model's profile."""
        floor = self.spec.options.get("fusion_floor")
        return float(floor) if isinstance(floor, int | float) else None

    @property
    def keeps_contexts(self) -> bool:
        """Whether contexts stay with the client, so that each decode sends the whole prompt."""
        if self.info is None or self.info.kind != "llm":
            return False
        able = self.info.capabilities
        return "prefill" not in able or "warm_up" in able

    @property
    def caches_prefixes(self) -> bool:
        """Whether a server is known to have a prefix cache."""
        return self.info is not None and not self.info.capabilities.isdisjoint(_OF_CACHES)

    @property
    def items_together(self) -> int:
        """The most items that it computes in one go: an LLM makes batches of its requests."""
        is_llm = self.info is not None and self.info.kind == "llm"
        return self.info.num_slots if self.info is not None and is_llm else self.batch_items


@dataclass(frozen=True, slots=True)
class KnownEngines:
    """The engines of one app by their names in its graph."""

    engines: Mapping[str, KnownEngine] = field(default_factory=dict)

    @property
    def key(self) -> tuple[tuple[str, str, bool], ...]:
        """Equal where passes get equal facts."""
        return tuple(
            (name, engine.spec.key, engine.info is None) for name, engine in self.engines.items()
        )

    @property
    def batch_items(self) -> Mapping[str, int]:
        return {name: engine.batch_items for name, engine in self.engines.items()}

    @property
    def placed(self) -> Mapping[str, Placed]:
        """The engines that compute on a device; one without a name has a device of its own."""
        return {
            name: Placed(engine.info.device or name, engine.items_together)
            for name, engine in self.engines.items()
            if engine.info is not None and engine.info.kind != "python"
        }

    @property
    def sources(self) -> Mapping[str, str]:
        """Where the seconds of each engine come from."""
        return {name: engine.latency.source for name, engine in self.engines.items()}

    @property
    def want_next_uses(self) -> bool:
        """Whether an engine may want to know when contexts are read: one of these, or, where none
        is an LLM, one whose contexts wait meanwhile."""
        infos = [each.info for each in self.engines.values() if each.spec.kind == "llm"]
        asking = (info is None or "next_use" in info.capabilities for info in infos)
        return not infos or any(asking)

    def cost(self, graph: Graph) -> GraphCost:
        """Seconds for a graph that these engines run, by their profiles or by defaults."""
        latencies = {name: engine.latency for name, engine in self.engines.items()}
        clients = {name for name, engine in self.engines.items() if engine.keeps_contexts}
        caching = {name for name in clients if self.engines[name].caches_prefixes}
        return GraphCost.of(graph, latencies, clients, caching)

    def facts(
        self, graph: Graph, fusion: str | None = None, prefill_ahead: bool | None = None
    ) -> Facts:
        """What passes may know; costs only of engines that were profiled. `fusion` and
        `prefill_ahead` are the app's.

        Raises ConfigError for a fusion profile that cannot be read.
        """
        able = {
            name: frozenset[str](engine.info.capabilities)
            for name, engine in self.engines.items()
            if engine.info is not None
        }
        profiled = {name for name, engine in self.engines.items() if engine.latency.is_profiled}
        devices = {name: placed.device for name, placed in self.placed.items()}
        cost = self.cost(graph) if profiled else None
        fusing = self._fusion(fusion) if wants_fusion(graph, fusion) else FusionFacts(fusion)
        return Facts(able, cost, frozenset(profiled), devices, fusing, prefill_ahead)

    def _fusion(self, default: str | None) -> FusionFacts:
        """What checks of the models found."""
        from backends.fusion_profile import load  # late: most apps fuse nothing

        infos = {name: known.info for name, known in self.engines.items()}
        models = {
            name: info.model
            for name, info in infos.items()
            if info and "fusion" in info.capabilities
        }
        found = {name: load(model) for name, model in models.items()}
        plans = {
            name: {plan: PlanQuality(its.r, its.cost) for plan, its in profile.plans.items()}
            for name, profile in found.items()
            if profile is not None
        }
        floors = {
            name: profile.floor if (own := self.engines[name].fusion_floor) is None else own
            for name, profile in found.items()
            if profile is not None
        }
        return FusionFacts(default, models, plans, floors)


class EngineBook:
    """Looks engines up by their specs: makes each once, asks it, and hands it to who runs it.

    Threads may share it.
    """

    def __init__(self, latencies: Latencies) -> None:
        self._latencies = latencies
        self._known: dict[str, KnownEngine] = {}  # by EngineSpec.key
        self._unused: dict[str, Engine] = {}  # made to be asked, and not taken yet
        self._lock = threading.Lock()

    def known(self, engines: Mapping[str, EngineSpec]) -> KnownEngines:
        with self._lock:
            return KnownEngines({name: self._look_up(spec) for name, spec in engines.items()})

    def take(self, spec: EngineSpec) -> Engine:
        """The engine, not yet started, which is the caller's now. Raises ConfigError."""
        with self._lock:
            return self._unused.pop(spec.key, None) or create(spec)

    def forget(self, keys: Iterable[str]) -> None:
        """Of engines that nobody will ask for again."""
        with self._lock:
            for key in keys:
                self._known.pop(key, None)
                self._unused.pop(key, None)

    async def close(self) -> None:
        """Free the engines that nobody took."""
        with self._lock:
            unused, self._unused = self._unused, {}
        for engine in unused.values():
            await engine.close()

    def _look_up(self, spec: EngineSpec) -> KnownEngine:
        found = self._known.get(spec.key)
        if found is None:
            found = KnownEngine(spec, self._info(spec), self._latencies.of(spec))
            if found.info is not None:
                self._known[spec.key] = found
        return found

    def _info(self, spec: EngineSpec) -> EngineInfo | None:
        try:
            engine = create(spec)
        except ConfigError:
            return None
        self._unused[spec.key] = engine
        return engine.info
