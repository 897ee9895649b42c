"""The token state of one request while it runs, and of a context between requests."""

import weakref
from collections import deque
from dataclasses import dataclass

import torch

from backends.base import Request
from backends.llm.chat import Role
from backends.llm.detokenizer import Detokenizer
from backends.llm.grammar import Matcher
from backends.llm.kv_cache import PageTable
from backends.llm.sampling import Sampling
from backends.llm.stop import StopScanner


class LLMContext:
    """The graph's handle on a token state (backends.base.Context). Its ids never change; its KV
    may be lost to others at any time and is then computed again.

    `release` only notes the wish: the engine's own thread frees the pages before its next step.
    A handle that is garbage collected is released."""

    def __init__(
        self, ids: list[int], turn: Role | None, table: PageTable, released: deque[PageTable]
    ) -> None:
        self.ids = ids
        self.turn = turn  # the chat turn that is open after the last token
        self.table = table  # the engine's thread alone looks inside
        self._released = released
        self._finalizer = weakref.finalize(self, released.append, table)
        self._finalizer.atexit = False

    @property
    def num_tokens(self) -> int:
        return len(self.ids)

    def release(self) -> None:
        self._finalizer()

    def is_of(self, released: deque[PageTable]) -> bool:
        """Was this context made by the engine that owns `released`?"""
        return self._released is released


@dataclass(slots=True)
class Generation:
    """What a decode needs besides its tokens."""

    sampling: Sampling
    max_new: int  # max_tokens, or less where the context or the pool ends before
    detokenizer: Detokenizer
    stops: StopScanner
    rng: torch.Generator | None  # None: greedy
    matcher: Matcher | None  # None: no schema
    text: str = ""
    num_sampled: int = 0  # the end-of-turn token included


class Sequence:
    """One running or waiting request. KV is needed for all tokens but the last: a prefill is done
    then, and a decode starts by computing that last one for its logits."""

    def __init__(
        self,
        request: Request,
        arrival: int,
        parent: LLMContext | None,
        ids: list[int],
        turn: Role | None,
        generation: Generation | None = None,
    ) -> None:
        self.request = request
        self.arrival = arrival
        self.parent = parent
        self.ids = ids
        self.turn = turn
        self.generation = generation  # None: a prefill
        self.num_prompt = len(ids)
        self.table = PageTable()
        self.num_prefilled = 0  # prompt tokens computed, again after a loss included
        self.num_cached = 0  # new prompt tokens found in the tree
        self.was_preempted = False

    @property
    def num_known(self) -> int:
        """Tokens that earlier calls have paid for."""
        return max(0, self.parent.num_tokens - 1) if self.parent else 0

    @property
    def num_to_prefill(self) -> int:
        """Tokens before the last one that have no KV yet."""
        return max(0, len(self.ids) - 1 - self.table.num_computed)

    @property
    def num_to_compute(self) -> int:
        """Tokens without KV that this request needs: a decode wants the last one's logits too."""
        return self.num_to_prefill + (self.generation is not None)

    @property
    def is_decoding(self) -> bool:
        return self.generation is not None and not self.num_to_prefill

    @property
    def output_ids(self) -> list[int]:
        return self.ids[self.num_prompt :]

    def __repr__(self) -> str:
        return f"Sequence({self.request.id[:8]}, {self.request.op}, {len(self.ids)} tokens)"
