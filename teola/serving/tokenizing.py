"""Token ids of prompts, from an engine that shows its tokenizer, on threads of its own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

from backends.base import Part, Tokens
from teola.serving.admission import Admission

T = TypeVar("T")
_LIGHT_SIZE = 4000  # about a millisecond: what is longer is not tokenised on the event loop
_SHORT_SIZE = 65_536  # some milliseconds
_TURN_SIZE = 32
_MAX_WAITING = 64


@runtime_checkable
class HasTokenizer(Protocol):
    """What an engine may offer beside the Engine protocol; any thread may call."""

    def encode(
        self,
        parts: Sequence[Part],
        attrs: Mapping[str, Any] | None = None,
        *,
        is_start: bool = True,
    ) -> list[int]:
        """The ids that a prefill of these parts would have, with `attrs` for tools; without
        `is_start` no token stands before a text. Raises RequestRejected."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, markup included. Raises RequestRejected."""

    def tokenizer_info(self) -> Mapping[str, Any]:
        """`bos_token`, `eos_token`, `chat_template` and `vocab_size`."""


class TokenizerThreads:
    """Of one engine: a thread for short texts and one for long ones, which therefore delay only
    each other. `admission` bounds the clients that ask for nothing but token ids."""

    def __init__(self) -> None:
        self.admission = Admission(_MAX_WAITING)
        self._short = ThreadPoolExecutor(1, thread_name_prefix="tokenize short")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="tokenize long")

    async def encode(
        self,
        tokenizer: HasTokenizer,
        parts: Sequence[Part],
        attrs: Mapping[str, Any] | None = None,
        *,
        is_start: bool = True,
    ) -> list[int]:
        """As `tokenizer.encode`, and the loop is never blocked for long."""
        size = _SHORT_SIZE if attrs else sum(map(_size, parts))  # a new template takes a while
        return await self._run(size, partial(tokenizer.encode, parts, attrs, is_start=is_start))

    async def decode(self, tokenizer: HasTokenizer, ids: Sequence[int]) -> str:
        """As `tokenizer.decode`, and the loop is never blocked for long."""
        return await self._run(len(ids), partial(tokenizer.decode, ids))

    def close(self) -> None:
        """What waits is cancelled."""
        for threads in (self._short, self._long):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, size: int, work: Callable[[], T]) -> T:
        if size <= _LIGHT_SIZE:
            return work()
        threads = self._short if size <= _SHORT_SIZE else self._long
        return await asyncio.get_running_loop().run_in_executor(threads, work)


def _size(part: Part) -> int:
    if isinstance(part, str):
        return len(part)
    return len(part.ids) if isinstance(part, Tokens) else _TURN_SIZE
