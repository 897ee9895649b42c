"""What token mode needs to know of a server."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from backends.base import Capability
from backends.engine_load import EngineLoad
from backends.remote.token_mode.call import Call, Choice, Cost, Delta, Prompt, ServerFacts

ALWAYS: frozenset[Capability] = frozenset(
    (
        "prefill",
        "generate",
        "warm_up",
        "fork",
        "decode_parts",
        "structured",
        "stream",
        "abort",
        "token_ids",
        "select",
        "logprobs",
        "tools",
    )
)  # what every server of token mode has


@runtime_checkable
class EncodesChunks(Protocol):
    """What a dialect with `fusion` offers too."""

    async def encode(self, prompt: Prompt) -> tuple[int, Cost]:
        """Compute the KV of a prompt's chunks; how many were not there. Raises EngineErrors."""


@runtime_checkable
class TakesWords(Protocol):
    """What a dialect with `next_use` or `guesses` offers too."""

    async def tell(self, words: Mapping[str, Any]) -> None:
        """Say what is known of contexts that the server keeps, and of guesses. Raises
        EngineErrors."""


class TokenDialect(Protocol):
    """One server's API. Methods raise EngineErrors."""

    name: str  # for people
    capabilities: frozenset[Capability]  # what is known without asking

    async def probe(self) -> ServerFacts:
        """Ask what the server is and can. Raises EngineUnavailable where it is another kind."""

    async def tokenize(self, text: str) -> list[int] | None:
        """The server's own ids of a text without markup; None: it does not say."""

    def check(self, call: Call) -> None:
        """Raises RequestRejected for what the server cannot do."""

    def must_stream(self, call: Call) -> bool:
        """The client has to end the output, for the server would not see where."""

    def run(self, call: Call) -> AsyncGenerator[Delta, None]:
        """What comes of a call: one Delta, or many if it streams."""

    async def warm_up(self, prompt: Prompt) -> Cost:
        """Compute a prompt into the server's prefix cache."""

    async def abort(self, call_id: str) -> None:
        """Tell the server to stop a call whose connection is closed or soon will be."""

    async def score(self, prompt: Prompt, choices: Sequence[Choice]) -> tuple[list[float], Cost]:
        """The log-probability of each choice after the prompt: the sum of its tokens'."""

    async def load(self) -> EngineLoad:
        """How busy the server is."""
