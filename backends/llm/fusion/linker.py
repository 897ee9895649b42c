"""Brings the KV of chunks to a prompt that begins to run. On the engine's thread."""

from functools import partial
from typing import Any

import numpy as np

from backends.llm.fusion.deviation import Turn, squared_distances
from backends.llm.fusion.link import Placed, num_moved, places_to_compute
from backends.llm.fusion.look import Attention, Contact, Look
from backends.llm.kv.cache import KVCache
from backends.llm.kv.page_table import PageTable
from backends.llm.model.rope import Angles as Floats
from backends.llm.model.step_model import StepModel
from backends.llm.sequence.sequence import Sequence


class Linker:
    """Of one model and its KV memory."""

    def __init__(self, cache: KVCache, model: StepModel[Any], kv: Any) -> None:
        self._cache = cache
        self._model = model
        self._kv = kv

    def begin(self, sequence: Sequence) -> None:
        """Fill the pages of everything that the sequence links. Where there is no room for all of
        it, or a source was lost, the whole prompt is computed: exactly, and later."""
        known = max(sequence.table.num_computed, sequence.num_known)
        if sequence.stage is None or not isinstance(sequence.stage.look, Contact):
            self._cache.match_tree(sequence.table, sequence.ids[: sequence.num_cacheable])
        start = self._link(sequence)
        sequence.places, sequence.num_fused = None, 0
        if not sequence.was_preempted:
            found = sequence.table.num_computed if start is None else start
            sequence.num_cached += max(0, found - known)
        if start is not None:
            self._read(sequence, start)

    def _link(self, sequence: Sequence) -> int | None:
        """Where what is exact ends and chunks are read; None where the whole prompt is computed."""
        start = sequence.table.num_computed
        if start >= len(sequence.ids) - 1 or all(part.end <= start for part in sequence.placed):
            return None
        if (taken := self._take_over(sequence)) is not None:
            return taken
        return start if self._bring_all(sequence, start) else None

    def _read(self, sequence: Sequence, start: int) -> None:
        """Let the sequence compute what is not brought, from place `start` on."""
        table, num_tokens = sequence.table, len(sequence.ids)
        sequence.places = places_to_compute(sequence.placed, start, num_tokens)
        num_read = num_tokens - 1 - start - len(sequence.places)
        sequence.num_fused = num_moved(sequence.placed, start, sequence.places, num_tokens)
        if not sequence.was_preempted:
            sequence.num_cached += num_read - sequence.num_fused
        is_contact = isinstance(sequence.look, Contact)
        size = (num_tokens, len(sequence.placed)) if is_contact else num_tokens
        sequence.mass = np.zeros(size, np.float32)
        table.is_private, table.num_exact = True, start
        table.num_computed = sequence.places[0]

    def scores(self, sequence: Sequence) -> Floats:
        """What the sequence's look found, [T] or [T, C] for the tokens of all its C chunks, one
        behind the other; zeros for a chunk whose source was lost meanwhile."""
        look = sequence.look
        assert look is not None, f"{sequence} looks for nothing"
        return np.concatenate([self._scores(sequence, look, part) for part in sequence.placed])

    def _scores(self, sequence: Sequence, look: Look, placed: Placed) -> Floats:
        part, at = placed
        if isinstance(look, Attention | Contact):
            return sequence.mass[at : placed.end]
        scores = np.zeros(len(part.ids), np.float32)
        num_tokens = min(placed.end, len(sequence.ids) - 1) - at  # the prompt's last has no KV
        if not placed.is_there():
            return scores
        read = partial(self._model.read, self._kv, look.layer)
        before = read(part.table.pages, part.start, num_tokens)
        now = read(sequence.table.pages, at, num_tokens)
        turn = Turn.by(at - part.start, self._model.frequencies)
        pair = (before[1], now[1]) if look.of == "v" else (turn.of(before[0]), now[0])
        scores[:num_tokens] = squared_distances(*pair)
        return scores

    def _take_over(self, sequence: Sequence) -> int | None:
        """The pages of the pass before, if it still has them. Where it began to read chunks: what
        others computed since then is not in them."""
        base = sequence.stage.base if sequence.stage is not None else None
        if base is None or base.is_released or base.num_computed < len(sequence.ids) - 1:
            return None
        start, taken = base.num_exact, self._cache.share(base, base.num_computed)
        self._cache.drop(base)
        self._cache.drop(sequence.table)
        sequence.table = taken
        return start

    def _bring_all(self, sequence: Sequence, start: int) -> bool:
        table = sequence.table
        wanted = [part for part in sequence.placed if part.end > start]
        if not all(part.is_there() for part in wanted):
            return False
        if not self._cache.reserve(table, len(sequence.ids) - 1):
            return False
        if not all(part.is_there() for part in wanted):  # room may have cost a source
            return False
        for placed in wanted:
            self._bring(placed, max(start, placed.at), table)
        return True

    def _bring(self, placed: Placed, start: int, table: PageTable) -> None:
        """Its tokens from place `start` on; the prompt's last token has no KV."""
        part, at = placed
        end = min(placed.end, len(table.pages) * self._cache.pool.page_size)
        if end > start:
            first = part.start + start - at
            self._model.link(self._kv, part.table.pages, first, table.pages, start, end - start)
