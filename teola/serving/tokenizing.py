"""Token ids of prompts, from an engine that shows its tokenizer."""

import asyncio
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from backends.base import Part

_LONG_CHARS = 4000  # about a millisecond: longer texts are not tokenised on the event loop


@runtime_checkable
class HasTokenizer(Protocol):
    """What an engine may offer beside the Engine protocol; any thread may call."""

    def encode(self, parts: Sequence[Part]) -> list[int]:
        """The ids that a prefill of these parts would have. Raises RequestRejected."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, markup included. Raises RequestRejected."""


async def encode(tokenizer: HasTokenizer, parts: Sequence[Part]) -> list[int]:
    """As `tokenizer.encode`, and the loop is never blocked for long."""
    if sum(len(part) for part in parts if isinstance(part, str)) > _LONG_CHARS:
        return await asyncio.to_thread(tokenizer.encode, parts)
    return tokenizer.encode(parts)
