"""How busy a server says it is."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """The work of all of a server's clients."""

    num_running: int = 0  # requests
    num_waiting: int = 0
    waiting_tokens: int | None = None  # of those, prompt tokens that no cache holds; None: unknown
    kv_usage: float | None = None  # the part of the KV pool that is taken, 0 to 1


@runtime_checkable
class ReportsLoad(Protocol):
    """What an engine of a server that tells its load offers beside the protocol of all."""

    async def load(self) -> EngineLoad:
        """The load now. Raises EngineError where the server does not answer."""
