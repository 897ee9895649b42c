"""The engines of one server, under the names that clients call them by."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, cast

from starlette.requests import Request

from backends.base import Engine, Kind
from backends.errors import ConfigError
from backends.fusion_profile import FusionProfile, load
from backends.policy.base import OrdersSteps
from backends.policy.named import POLICIES
from teola.serving.admission import Admission
from teola.serving.api_errors import ApiError
from teola.serving.client_rules import DEFAULT_RULES, ClientRules, PriorityRule
from teola.serving.kv_metrics import (
    HasCacheStats,
    HasRecordingStats,
    HasSpeculationStats,
    StatsCollector,
)
from teola.serving.metrics import Metrics
from teola.serving.place_fields import KnownQueries
from teola.serving.running import Running
from teola.serving.served import HasAdapters, Served, short_name

_ARTICLE: Mapping[Kind, str] = {
    "llm": "an LLM",
    "embedder": "an embedder",
    "reranker": "a reranker",
}


class ServedEngines:
    """Starts and closes the engines, and finds the one that a request names."""

    def __init__(
        self,
        engines: Sequence[tuple[str, Engine]],
        max_queued: int,
        llm_name: str | None = None,
        adapters: Mapping[str, str] = MappingProxyType({}),
        *,
        rules: ClientRules = DEFAULT_RULES,
    ) -> None:
        """`engines` with their URLs, `adapters` of the LLM by name with their folders. Each engine
        takes `max_queued` requests beyond those it can run."""
        self.metrics = Metrics()
        self.created_s = int(time.time())
        self.is_ready = False
        self.rules = rules
        self.queries = KnownQueries()
        self._adapters = adapters
        self._policy = ""  # that its client named last
        self.served = tuple(
            Served(
                llm_name if llm_name and engine.info.kind == "llm" else short_name(url),
                url,
                engine,
                Admission(engine.info.num_slots + max_queued),
                Running(engine, self.metrics.count_usage),
                rules.is_exact,
            )
            for url, engine in engines
        )
        register = self.metrics.registry.register
        for _, engine in engines:
            if isinstance(engine, HasCacheStats):
                register(StatsCollector(engine.cache_stats, "kv", "KV cache"))
            if isinstance(engine, HasSpeculationStats):
                register(StatsCollector(engine.speculation_stats, "speculation", "Guesses"))
            if isinstance(engine, HasRecordingStats):
                read = partial(getattr, engine, "recording_stats")
                name = f"recording_{engine.info.kind}"
                register(StatsCollector(read, name, "Answers from a recording"))

    @property
    def names(self) -> Sequence[str]:
        """The URLs of the engines."""
        return [served.url for served in self.served]

    async def start(self) -> None:
        """Load all engines, one after another: loading is bound by the same disk and cores.

        Raises what kept one from loading.
        """
        for served in self.served:
            await served.engine.start()
            if served.engine.info.kind == "llm":
                await self._load_adapters(served)
        self.is_ready = True

    def is_idle(self) -> bool:
        """Always: what runs has a client that waits."""
        return True

    def end_running(self) -> None:
        """Answer all that runs with an error; nothing new is taken."""
        self.is_ready = False
        for served in self.served:
            served.running.end()

    async def close(self) -> None:
        self.is_ready = False
        for served in self.served:
            served.tokenizing.close()
            served.kept.close()
        await asyncio.gather(*(served.engine.close() for served in self.served))

    async def _load_adapters(self, llm: Served) -> None:
        if self._adapters and not isinstance(llm.engine, HasAdapters):
            raise ConfigError(f"{llm.url} takes no LoRA adapters")
        for name, folder in self._adapters.items():
            assert isinstance(llm.engine, HasAdapters), "checked above"
            await llm.engine.load_adapter(name, folder)

    def keeps_contexts(self, served: Served) -> bool:
        """Whether clients may say when they read a context next: what is kept for one client is
        taken from all."""
        is_believed = self.rules.priority == PriorityRule.ALLOW
        return is_believed and "next_use" in served.capabilities

    def takes_policy(self, served: Served) -> bool:
        """Whether the client of this server says how the engine orders its steps."""
        return self.rules.takes_policy and isinstance(served.engine, OrdersSteps)

    def order_by(self, policy: str) -> None:
        """Let the LLM order its steps so, as its client asks."""
        if policy == self._policy:
            return
        self._policy = policy
        for served in self.served:
            if isinstance(served.engine, OrdersSteps):
                served.engine.order_by(POLICIES[policy])

    def cards(self) -> list[dict[str, Any]]:
        """What `/v1/models` says: every engine, and every adapter as a model of its own."""
        found = []
        for served in self.served:
            card = self._card(served)
            adapters = ({**card, "id": name, "parent": served.name} for name in served.adapters)
            found += [card, *adapters]
        return found

    def _card(self, served: Served) -> dict[str, Any]:
        card: dict[str, Any] = {
            "id": served.name,
            "object": "model",
            "created": self.created_s,
            "owned_by": "teola",
            "root": served.url,
            "kind": served.engine.info.kind,
            "capabilities": sorted(served.capabilities),
        }
        if served.engine.info.kind == "llm":
            card["client_priority"] = self.rules.priority.value
            if self.rules.priority in (PriorityRule.ALLOW, PriorityRule.LOWER):
                card["takes_places"] = True
                if isinstance(served.engine, OrdersSteps):
                    card["takes_guesses"] = True
            if self.keeps_contexts(served):
                card["keeps_contexts"] = True
            if self.takes_policy(served):
                card["takes_policy"] = True
        length = served.engine.info.max_context_tokens
        if length is not None:
            card["max_model_len"] = length
        profile = _fusion_profile(served)
        return card if profile is None else {**card, "fusion": profile.model_dump(mode="json")}

    def find(self, kind: Kind, model: str | None) -> Served:
        """The engine of a kind, which `model` must name if it is given, unless any name will do.
        Raises ApiError."""
        if not self.is_ready:
            raise ApiError(503, "the server is loading its models", code="not_ready")
        of_kind = [served for served in self.served if served.engine.info.kind == kind]
        for served in of_kind:
            if model is None or self.rules.any_model or served.is_called(model):
                return served
        what = _ARTICLE[kind]
        have = ", ".join(served.name for served in of_kind) or _none_of(kind)
        raise ApiError(
            404,
            f"there is no model {model!r} here that is {what}; this server has {have}",
            code="model_not_found",
            param="model",
        )


def _fusion_profile(served: Served) -> FusionProfile | None:
    """What a check of the model found, if there was one."""
    if "fusion" not in served.capabilities:
        return None
    try:
        return load(served.engine.info.model)
    except ConfigError:
        return None


def _none_of(kind: Kind) -> str:
    return f"none (start it with {'the URL of one' if kind == 'llm' else f'--{kind}'})"


def engines_of(request: Request) -> ServedEngines:
    return cast(ServedEngines, request.app.state.engines)
