"""The token state of one request while it runs, and of a context between requests."""

import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from backends.base import Request, Usage
from backends.llm.fusion.link import Placed, Stage
from backends.llm.fusion.look import Look
from backends.llm.kv.page_table import Namespace, PageTable
from backends.llm.lora.adapter import Adapter
from backends.llm.requests.open_turn import Open
from backends.llm.sequence.generation import Generation, Scoring
from backends.llm.sequence.service_record import ServiceRecord
from backends.served import Served

_NOTHING = np.zeros(0, np.float32)


@dataclass(slots=True)
class ServiceStats:
    """Seconds on the planner's clock."""

    arrived_s: float = 0.0
    prefill_s: float = 0.0  # estimated prefill time, at arrival
    served_s: float = 0.0  # steps it took part in, since arrival or since it last counted as new
    last_s: float = 0.0  # end of the latest of these steps; its arrival before the first

    def serve(self, ended_s: float, elapsed_s: float, patience_s: float) -> None:
        """Add a step that it took part in. After a wait of `patience_s` it counts as new."""
        if ended_s - elapsed_s - self.last_s >= patience_s:
            self.served_s = 0.0
        self.served_s += elapsed_s
        self.last_s = ended_s


class LLMContext:
    """The graph's handle on a token state (backends.base.Context). Its ids never change; its KV
    may be lost to others at any time and is then computed again.

    `release` only enqueues: the engine's thread frees the pages before its next step.
    A handle that is garbage collected is released."""

    def __init__(
        self,
        ids: list[int],
        turn: Open,
        table: PageTable,
        released: deque[PageTable],
        adapter: Adapter | None = None,
        salt: str = "",
    ) -> None:
        self.ids = ids
        self.turn = turn  # the chat turn that is open after the last token
        self.table = table  # the engine's thread alone looks inside
        self.adapter = adapter  # whose weights made the KV; None: the base model alone
        self.salt = salt  # the tenant that may continue from here; "": all
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


class Sequence:
    """What runs or waits of one request. KV is needed for all tokens but the last: a prefill is
    done then, and a decode starts by computing that last one for its logits. A scored sequence is a
    prefill that wants logits too."""

    def __init__(
        self,
        request: Request,
        arrival: int,
        parent: LLMContext | None,
        ids: list[int],
        turn: Open,
        generation: Generation | None = None,
        adapter: Adapter | None = None,
        scoring: Scoring | None = None,
        salt: str = "",
    ) -> None:
        self.request = request
        self.arrival = arrival
        self.parent = parent
        self.ids = ids
        self.turn = turn
        self.generation = generation  # None: a prefill, or scored
        self.scoring = scoring  # None: not scored
        self.adapter = adapter  # None: the base model alone
        self.wants_logits = scoring is not None or (
            generation is not None and generation.wants_logits
        )  # else its tokens are the model's likeliest
        self.num_prompt = len(ids)
        self.salt = salt  # the tenant whose prefixes it shares
        self.table = PageTable(self.namespace)
        self.num_prefilled = 0  # prompt tokens computed, again after a loss included
        self.num_cached = 0  # new prompt tokens found in the tree
        self.placed: Items[Placed] = ()  # parts whose KV it reads, if it can
        self.stage: Stage | None = None  # of a fused prompt
        self.places: list[int] | None = None  # those it computes, ascending; None: all
        self.num_fused = 0  # prompt tokens read from other places
        self.mass = _NOTHING  # [N], or [N, C] for C chunks: what its look at attention has found
        self.was_preempted = False
        self.is_running = False  # holds pages; else it waits. The planner alone changes it
        self.service = ServiceStats()
        self.record: ServiceRecord | None = None  # where its request is listened to

    @property
    def namespace(self) -> Namespace:
        """Whose prefixes it may find: KV of one adapter is not that of another."""
        adapter = self.adapter.digest if self.adapter is not None else ""
        return Namespace(adapter, self.salt)

    @property
    def usage(self) -> Usage:
        """What it cost. The one place where an LLM request's tokens are counted:

        A prefill's `prefill_tokens` are the tokens it computed (those of its parent only if their
        KV was lost), `cached_tokens` the new ones it found computed; a decode's `prefill_tokens`
        are the last prompt token and whatever it computed again. Over a prefill and its decode the
        two add up to the prompt. `decode_tokens` are sampled tokens, the end of turn included;
        `forced_tokens` those that a grammar appended without a step; `accepted_tokens` those of
        the sampled that had been guessed and cost no step of their own."""
        usage = Usage(
            prefill_tokens=self.num_prefilled,
            cached_tokens=self.num_cached,
            fused_tokens=self.num_fused,
        )
        if self.generation is None:
            return usage
        return replace(
            usage,
            decode_tokens=self.generation.num_sampled,
            forced_tokens=self.generation.num_forced,
            guessed_tokens=self.generation.num_guessed,
            accepted_tokens=self.generation.num_accepted,
        )

    @property
    def served(self) -> Served | None:
        """How it was served; None where nobody listens."""
        return None if self.record is None else self.record.served(self.service.arrived_s)

    def note_computed(self, num_tokens: int) -> None:
        """The next `num_tokens` have KV now."""
        if self.places is not None:
            at = bisect_left(self.places, self.table.num_computed) + num_tokens
            self.num_prefilled += num_tokens
            has_more = at < len(self.places)
            self.table.num_computed = self.places[at] if has_more else len(self.ids) - 1
            return
        first = self.table.num_computed
        self.table.num_computed += num_tokens
        if self.generation is None or not self.generation.num_sampled:
            prompt_end = min(self.table.num_computed, self.num_prompt)
            self.num_prefilled += max(0, prompt_end - first)

    def next_places(self, num_tokens: int) -> list[int] | None:
        """The next tokens to compute; None: one behind the other from `num_computed` on."""
        if self.places is None:
            return None
        at = bisect_left(self.places, self.table.num_computed)
        return self.places[at : at + num_tokens]

    def reads(self, place: int) -> bool:
        """Whether the KV of this place was brought from elsewhere."""
        if self.places is None or not self.places[0] <= place < len(self.ids) - 1:
            return False
        at = bisect_left(self.places, place)
        return at == len(self.places) or self.places[at] != place

    def note_mass(self, place: int, mass: NDArray[np.float32]) -> None:
        """How much some rows, of which the first is that of `place`, attend to the first tokens."""
        if self.mass.ndim == 1:
            self.mass[: len(mass)] += mass
        else:
            self.mass[place] += [mass[part.at : part.end].sum() for part in self.placed]

    @property
    def look(self) -> Look | None:
        """What it finds out instead of computing the whole prompt. None too where nothing could be
        brought: then the whole prompt is computed."""
        return self.stage.look if self.stage is not None and self.places is not None else None

    @property
    def look_from(self) -> int:
        """The first place of the question, which a look at attention is about."""
        return min(self.placed[-1].end, len(self.ids) - 2)

    @property
    def num_known(self) -> int:
        """Tokens that earlier calls have paid for."""
        return max(0, self.parent.num_tokens - 1) if self.parent else 0

    @property
    def longest(self) -> int:
        """Tokens it has at most, in the end."""
        return self.num_prompt + (self.generation.max_new if self.generation else 0)

    @property
    def num_cacheable(self) -> int:
        """First tokens that may be found computed: the logits of none of them are wanted."""
        return self.scoring.num_context - 1 if self.scoring is not None else len(self.ids) - 1

    @property
    def num_to_prefill(self) -> int:
        """Tokens before the last one that have no KV yet."""
        start = self.table.num_computed
        if self.places is not None:
            return len(self.places) - bisect_left(self.places, start)
        return max(0, len(self.ids) - 1 - start)

    @property
    def num_to_compute(self) -> int:
        """Tokens without KV that this request needs: a decode wants the last one's logits too."""
        return self.num_to_prefill + (self.generation is not None)

    @property
    def is_decoding(self) -> bool:
        return self.generation is not None and not self.num_to_prefill

    @property
    def num_output(self) -> int:
        return len(self.ids) - self.num_prompt

    def num_logits(self, start: int, end: int) -> int:
        """How many of the tokens from place `start` to `end` have logits that are wanted."""
        if self.generation is None and self.scoring is None:
            return 0
        return max(0, end - max(start, self.num_cacheable))

    @property
    def output_ids(self) -> list[int]:
        return self.ids[self.num_prompt :]

    def __repr__(self) -> str:
        return f"Sequence({self.request.id[:8]}, {self.request.op}, {len(self.ids)} tokens)"
