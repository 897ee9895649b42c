"""One engine of a server: its name, what it offers, and its admission control."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, NoReturn, Protocol, runtime_checkable

from backends.base import Capability, Engine, Part, Request, Result, Tokens
from backends.place import Place
from teola.serving.admission import Admission
from teola.serving.api_errors import invalid
from teola.serving.kept_contexts import KeptContexts
from teola.serving.place_fields import NOBODY, Client
from teola.serving.request_span import answered
from teola.serving.running import Running
from teola.serving.tokenizing import TokenizerThreads

_NEEDS: Mapping[str, tuple[Capability, str]] = {  # by decode attribute, with the client's field
    "logprobs": ("logprobs", "logprobs"),
    "schema": ("structured", "response_format"),
    "regex": ("structured", "regex"),
    "choices": ("structured", "choices"),
    "select": ("select", "choices"),
    "fusion": ("fusion", "fusion"),
    "encode": ("fusion", "prompt"),
    "tools": ("tools", "tools"),
}


@runtime_checkable
class HasAdapters(Protocol):
    """What an LLM engine may offer beside the Engine protocol."""

    @property
    def adapter_names(self) -> tuple[str, ...]: ...

    async def load_adapter(self, name: str, folder: str) -> None:
        """Let requests name a LoRA adapter. Raises ConfigError."""


@dataclass(frozen=True, slots=True)
class Service:
    """How soon a client wants its answer, and for what."""

    priority: int = 0
    itl_s: float | None = None
    place: Place | None = None
    client: Client = NOBODY
    is_heard: bool = False  # it asks how it is served


BY_ARRIVAL = Service()


@dataclass(frozen=True, slots=True)
class Served:
    """One engine with its name."""

    name: str
    url: str
    engine: Engine
    admission: Admission
    running: Running
    is_exact: bool = False  # lossy answers are refused, whatever the engine can
    tokenizing: TokenizerThreads = field(default_factory=TokenizerThreads)
    kept: KeptContexts = field(default_factory=KeptContexts)  # for clients

    @property
    def max_context_tokens(self) -> int:
        """Of an LLM; without a known end, as good as none."""
        return self.engine.info.max_context_tokens or 2**20

    async def run(self, request: Request) -> Result:
        """The engine's result. Cancelling the caller aborts the request. Raises what the engine
        gave for it."""
        span = answered.get()
        if span is not None:
            request.traceparent = span.traceparent
        outcome = await self.running.run(request)
        if isinstance(outcome, Exception):
            raise outcome
        if span is not None:
            span.note(self.name, request, outcome)
        return outcome

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The engine's, but for those that this server keeps from its clients."""
        able = self.engine.info.capabilities
        return able - {"fusion"} if self.is_exact else able

    def check_can(
        self,
        parts: Iterable[Part],
        attrs: Mapping[str, Any],
        service: Service = BY_ARRIVAL,
        fusion: str | None = None,
        form_field: str = "",
    ) -> None:
        """Raises ApiError for a kind of prompt, an attribute or a service that this engine does
        not offer; one about the form of an answer names `form_field`."""
        able = self.capabilities
        if fusion is not None and self.is_exact:
            why = "this server gives exact answers only: leave fusion out"
            raise invalid("fusion", why, "unsupported_parameter")
        if service.itl_s is not None and "itl" not in able:
            self._refuse("itl_ms", "itl_ms")
        asked = {*attrs, *fused(fusion)}
        for attr, (capability, name) in _NEEDS.items():
            if attr in asked and capability not in able:
                name = form_field if form_field and capability == "structured" else name
                self._refuse(name, name if name != "prompt" else "KV cache fusion")
        if "token_ids" not in able and any(isinstance(part, Tokens) for part in parts):
            self._refuse("prompt", "token ids")

    def _refuse(self, field: str, what: str) -> NoReturn:
        raise invalid(field, f"{self.name} does not offer {what}", "unsupported_parameter")

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of LoRA adapters, which clients ask for as models."""
        return self.engine.adapter_names if isinstance(self.engine, HasAdapters) else ()

    def is_called(self, model: str) -> bool:
        return model in (self.name, self.url, *self.adapters)

    def name_for(self, model: str | None) -> str:
        """What an answer says of its model."""
        return model if model in self.adapters and model is not None else self.name

    def prompt_attrs(self, model: str | None, cache_salt: str | None) -> dict[str, Any]:
        """Attributes of prefill and decode alike."""
        adapter = model if model in self.adapters else None
        found = {"adapter": adapter, "cache_salt": cache_salt}
        return {name: value for name, value in found.items() if value is not None}


def fused(plan: str | None) -> dict[str, Any]:
    """The attributes of a prefill with this plan."""
    return {} if plan is None else {"fusion": plan}


def short_name(url: str) -> str:
    """`local:smollm2-135m` is smollm2-135m, and `local:/models/tiny.gguf` is tiny; what follows a
    `?` are options."""
    return PurePath(url.partition(":")[2].partition("?")[0]).name.removesuffix(".gguf") or url
