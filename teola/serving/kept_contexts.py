"""Contexts of an LLM that a server keeps for its clients, so that the engine knows when each is
read next and evicts by that.

A client that keeps token ids sends whole prompts; without this the KV of its contexts is prefixes
in the radix cache, of which the engine knows nothing. What is kept is held as the runtime of this
process holds a context: until its client releases it, or says nothing of it for ten minutes.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from backends.base import Context, Engine, Expecting
from teola.serving.context_fields import ContextFields, KeptHead, Words
from teola.serving.place_fields import Client

MOST_KEPT = 4096  # contexts; of more, those spoken of longest ago are released
MOST_TOKENS = 2**22  # of all of them: their ids take 8 bytes each
KEEP_S = 600.0  # after the last word of its client


@runtime_checkable
class HasIds(Protocol):
    """What a context may offer beside the Context protocol."""

    @property
    def ids(self) -> Sequence[int]:
        """Its tokens."""


@dataclass(slots=True)
class _Kept:
    context: Context
    told_s: float  # when its client spoke of it last


class KeptContexts:
    """Of one engine, in the order in which clients spoke of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._num_tokens = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, client: Client, name: str, ids: Sequence[int]) -> Context | None:
        """The context of that name, if `ids` go on from it."""
        kept = self._kept.get((client.name, name))
        if kept is None or not isinstance(kept.context, HasIds):
            return None
        self._touch((client.name, name))
        found = kept.context.ids
        return kept.context if list(ids[: len(found)]) == list(found) else None

    def keep(self, client: Client, name: str, context: Context) -> None:
        """Own the context, until somebody says otherwise. An earlier one of that name goes."""
        key = (client.name, name)
        self._release(key)
        self._kept[key] = _Kept(context, 0.0)
        self._num_tokens += context.num_tokens
        self._touch(key)
        while len(self._kept) > MOST_KEPT or self._num_tokens > MOST_TOKENS:
            self._release(next(iter(self._kept)))
        self._sweep_later()

    def hear(self, client: Client, words: Words, engine: Engine) -> None:
        """What a client says of its contexts."""
        for name in words.released:
            self._release((client.name, name))
        uses = []
        for name, read_in_s in words.expected.items():
            if kept := self._kept.get((client.name, name)):
                self._touch((client.name, name))
                uses.append((kept.context, read_in_s))
        if uses:
            cast(Expecting, engine).expect(uses)

    def close(self) -> None:
        """Release all."""
        for key in list(self._kept):
            self._release(key)
        if self._timer is not None:
            self._timer.cancel()

    def _touch(self, key: tuple[str, str]) -> None:
        self._kept[key].told_s = asyncio.get_running_loop().time()
        self._kept.move_to_end(key)

    def _release(self, key: tuple[str, str]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._num_tokens -= kept.context.num_tokens
            kept.context.release()

    def _sweep_later(self) -> None:
        if self._kept and self._timer is None:
            first = next(iter(self._kept.values()))
            self._timer = asyncio.get_running_loop().call_at(first.told_s + KEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        late = [key for key, kept in self._kept.items() if kept.told_s + KEEP_S <= now_s]
        for key in late:
            self._release(key)
        self._sweep_later()


class Keeping:
    """What one request reads of them, and leaves."""

    def __init__(
        self, contexts: KeptContexts, client: Client, engine: Engine, fields: ContextFields
    ) -> None:
        self._contexts = contexts
        self._client = client
        self._engine = engine
        self._fields = fields
        contexts.hear(client, fields, engine)

    def read(self, ids: Sequence[int]) -> Context | None:
        """The kept context that a prompt goes on from, if it is there."""
        name = self._fields.reads
        return None if name is None else self._contexts.find(self._client, name, ids)

    def head(self, num_known: int, num_prompt: int) -> KeptHead | None:
        """The head that is to be computed, behind so many tokens; None: there is none."""
        head = self._fields.head
        is_new = head is not None and num_known < head.num_tokens <= num_prompt
        return head if is_new else None

    def keep_head(self, head: KeptHead, context: Context) -> None:
        """Own the head's context."""
        self._contexts.keep(self._client, head.name, context)
        cast(Expecting, self._engine).expect([(context, head.read_in_s)])

    def leave(self, context: Context) -> None:
        """Own what the request left, if it is to be kept; else it is released."""
        name = self._fields.keeps
        if name is None:
            context.release()
        else:
            self._contexts.keep(self._client, name, context)
            if self._fields.read_in_s is not None:
                cast(Expecting, self._engine).expect([(context, self._fields.read_in_s)])
