"""What a run of an agent gives, and what it may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from backends.base import Usage
from frontend_dsl.agents.errors import Limit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one run of an agent may use, its sub-agents' use included.

    `tokens` counts those that engines compute: read, not from a cache, and written. `calls` counts
    calls of tools. Raises ValueError for a limit that is not above 0.
    """

    tokens: int | None = None
    seconds: float | None = None
    calls: int | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "seconds", "calls"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise ValueError(f"Budget({name}=) must be above 0, or None; got {limit!r}")


@dataclass(frozen=True, slots=True)
class CallMade:
    """A call of a tool."""

    name: str
    arguments: Mapping[str, Any]
    result: str  # as the model read it
    failed: bool = False


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """A turn of an agent's conversation; one of the role "tool" answers a call."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[str, ...] = ()  # the names of the tools that an assistant's turn calls


@dataclass(frozen=True, slots=True)
class AgentResult(Generic[T]):
    """What a run of an agent gave, and how it came about."""

    output: T
    messages: tuple[AgentMessage, ...]
    calls: tuple[CallMade, ...]
    turns: int  # of the model
    usage: Usage
    stopped_by: Literal["answer"] | Limit  # a limit: the model answered with what it had by then
