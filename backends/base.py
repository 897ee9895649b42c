"""What an engine is: it takes batches of requests of its kind and answers each one.

An engine never raises for one bad request among good ones: the exception stands in that
request's place in the answer. It states what it can do (`capabilities`) and nothing is faked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Kind = Literal["llm", "embedder", "reranker", "store", "python"]
Capability = Literal[
    "prefill",  # a prompt may be prefilled apart from its decode
    "fork",  # a context may be read more than once
    "structured",  # decode takes a JSON schema and never leaves it
    "seed",  # sampling is repeatable
    "stream",  # decode emits text while it runs
    "abort",  # a running request can be stopped
    "cached_tokens",  # usage says how many prompt tokens came from a cache
    "token_ids",  # prompts may be given as token ids
]


@dataclass(frozen=True, slots=True)
class Turn:
    """Opens a chat turn inside a prompt: the engine writes its own template's markup here."""

    role: Literal["system", "user", "assistant"]


Part = str | Turn  # one piece of a prompt; text never turns into markup


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the schedulers need to know of an engine."""

    kind: Kind
    model: str  # what it runs, for people
    max_batch_items: int = 1  # most items in one execute()
    num_slots: int = 1  # execute() calls that may run at once
    capabilities: frozenset[Capability] = frozenset()
    max_context_tokens: int | None = None  # llm only


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost, counted by the engine that ran it."""

    prefill_tokens: int = 0  # prompt tokens computed
    cached_tokens: int = 0  # prompt tokens taken from a cache instead
    decode_tokens: int = 0
    num_items: int = 0  # texts embedded, pairs scored, documents written ...


@runtime_checkable
class Context(Protocol):
    """The token state of one LLM sequence; immutable: prefill and decode return a new one."""

    @property
    def num_tokens(self) -> int: ...

    def release(self) -> None:
        """Give up this handle's claim on KV; safe to call twice and from any thread."""


@dataclass(slots=True, eq=False)
class Request:
    """One primitive at an engine. `inputs` are real values, in the order of the node's args.

    | op | inputs | attrs | outputs |
    |---|---|---|---|
    | embed | str, or list of str or Doc | | float32 [D] or [N, D], unit length |
    | ingest | list[Doc], float32 [N, D] or None | | Index |
    | search | Index or None (all), query str, float32 [D] or None | k, mode, where | list[Doc] |
    | rerank | query str, list[Doc] | k | list[Doc], best first |
    | prefill | Context or None (empty), then Parts | | Context |
    | decode | Context | max_tokens temperature top_p top_k stop seed schema | str, Context |
    | call | anything | fn (a callable), kwargs (names of the last inputs) | anything |
    """

    id: str  # 32 hex digits, never a prefix of another
    op: str
    inputs: tuple[Any, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    num_items: int = 1
    emit: Callable[[str], None] | None = None  # decode: called with each new piece of text


@dataclass(frozen=True, slots=True)
class Result:
    """A finished request: one value for each output of the op."""

    outputs: tuple[Any, ...]
    usage: Usage = Usage()
    finish_reason: Literal["stop", "length"] | None = None  # decode only


Outcome = Result | Exception


class Engine(Protocol):
    """Runs batches of one kind. All methods are called on one event loop."""

    @property
    def info(self) -> EngineInfo: ...

    async def start(self) -> None:
        """Load what is needed; idempotent. Raises EngineUnavailable with what to do."""

    async def execute(self, requests: Sequence[Request]) -> list[Outcome]:
        """Run the requests together; outcomes in their order. Never blocks the loop."""

    def abort(self, request_id: str) -> None:
        """Stop a running request soon; its outcome is then an EngineError. Unknown ids pass."""

    async def close(self) -> None:
        """Free everything; idempotent."""
