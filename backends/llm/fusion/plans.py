"""Which tokens of reused chunks are computed again.

A plan is pure: `looks` says what it wants to know of a prompt, and `choose` makes the choice from
what they found. Named in a request as fusion="query(0.15)", with modifiers behind a plus:
fusion="query(0.15)+first(4)". A plan of your own is a frozen dataclass of numbers in `PLANS`.
"""

import math
from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from backends.llm.fusion.look import Attention, Contact, Deviation, Look
from backends.llm.fusion.record import Record

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Ratio = float  # of all chunk tokens that are not exact


@dataclass(frozen=True)
class Layout:
    """The chunks of a prompt, whose T tokens are counted one chunk behind the other."""

    lengths: tuple[int, ...]
    is_exact: tuple[bool, ...]  # right behind the prompt's prefix, where KV is exact already
    num_layers: int
    texts: tuple[str, ...] = ()  # of the chunks; this and the next for `FromRequests` alone
    records: tuple[Record, ...] = ()

    @property
    def num_tokens(self) -> int:
        return sum(self.lengths)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """[T]: the place of each token in its chunk."""
        return np.concatenate([np.arange(0)] + [np.arange(length) for length in self.lengths])

    @cached_property
    def inexact(self) -> Bools:
        """[T]: tokens whose KV would be another in this prompt."""
        return np.repeat(~np.array(self.is_exact, np.bool_), self.lengths)

    def none(self) -> Bools:
        return np.zeros(self.num_tokens, np.bool_)

    def best(self, scores: Floats, ratio: Ratio, among: Bools | None = None) -> Bools:
        """The inexact tokens of the highest scores (the first of equals), `ratio` of them all."""
        candidates = self.inexact if among is None else self.inexact & among
        ranked = np.where(candidates, np.nan_to_num(scores), -np.inf)
        count = min(round(ratio * int(self.inexact.sum())), int(candidates.sum()))
        chosen = self.none()
        chosen[np.argsort(-ranked, kind="stable")[:count]] = True
        return chosen


class Plan(Protocol):
    """Pure, and cheap beside a step. One that may drop or move chunks is an `Arranging` too."""

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        """What it wants to know, one pass after another; all tokens that it has chosen so far are
        computed in each of them."""

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:
        """[T]: the tokens to compute again, from the scores [T] that the first looks found. Without
        any: those that the first pass computes."""


@runtime_checkable
class Arranging(Protocol):
    """A plan that changes the prompt itself."""

    def order(self, layout: Layout, found: Items[Floats]) -> tuple[int, ...]:
        """The chunks that stay, by number, in their new order."""


@runtime_checkable
class FromRequests(Plan, Protocol):
    """A plan whose chunks are taken from earlier prompts. A prompt with a chunk that was in none is
    computed exactly, and recorded by the first look."""

    def overhead(self, record: Record, before: Items[str]) -> Ratio:
        """The share to compute again where these chunks stand before it now."""


@dataclass(frozen=True, slots=True)
class Exact:
    """All: an ordinary prefill, whose KV others find."""

    def looks(self, layout: Layout) -> tuple[Look, ...]:  # noqa: ARG002
        return ()

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:  # noqa: ARG002
        return layout.inexact


@dataclass(frozen=True, slots=True)
class Reuse:
    """None: the most that can be saved, and the most that can be lost."""

    def looks(self, layout: Layout) -> tuple[Look, ...]:  # noqa: ARG002
        return ()

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:  # noqa: ARG002
        return layout.none()


@dataclass(frozen=True, slots=True)
class Lego:
    """The first k of each chunk: encoded at the start of something, they draw attention that the
    start of a prompt draws, and must learn that they are not there (EPIC's LegoLink-k, arXiv
    2410.15332)."""

    k: int

    def looks(self, layout: Layout) -> tuple[Look, ...]:  # noqa: ARG002
        return ()

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:  # noqa: ARG002
        return layout.inexact & (layout.places < self.k)


@dataclass(frozen=True, slots=True)
class Random:
    """Any: what every plan of the same cost has to beat."""

    ratio: Ratio
    seed: int = 0

    def looks(self, layout: Layout) -> tuple[Look, ...]:  # noqa: ARG002
        return ()

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:  # noqa: ARG002
        scores = np.random.default_rng(self.seed).random(layout.num_tokens, np.float32)
        return layout.best(scores, self.ratio)


@dataclass(frozen=True, slots=True)
class Query:
    """Those that the question attends to most over the chunks as they are (FusionRAG, arXiv
    2601.12904, and ProphetKV, 2602.02579). `first` and `end` are layers; left out, the last third
    of them."""

    ratio: Ratio
    first: int = -1
    end: int = -1

    def __post_init__(self) -> None:
        if 0 <= self.end <= max(0, self.first):
            raise ValueError(f"there is no layer from {max(0, self.first)} up to {self.end}")

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        end = layout.num_layers if self.end < 0 else min(self.end, layout.num_layers)
        first = end - max(1, end // 3) if self.first < 0 else min(self.first, end - 1)
        return (Attention(first, end),)

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:
        return layout.best(found[0], self.ratio) if found else layout.none()


@dataclass(frozen=True, slots=True)
class Blend:
    """Those whose keys (`v`: values) are farthest from what they are behind all that stands before
    them, on layer `check`, up to which all are computed (CacheBlend, arXiv 2405.16444)."""

    ratio: Ratio
    check: int = 1
    v: bool = False

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        return (Deviation(min(self.check, layout.num_layers - 1), "v" if self.v else "k"),)

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:
        return layout.best(found[0], self.ratio) if found else layout.inexact


@dataclass(frozen=True, slots=True)
class Focus:
    """None, and only the `keep` chunks that the question attends to most are left in the prompt, at
    new places: in their order, or with `sort` the best one last, right before the question
    (CacheFocus, arXiv 2502.11101, without its pruning between layers)."""

    keep: int
    sort: bool = False

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        return Query(0).looks(layout)

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:  # noqa: ARG002
        return layout.none()

    def order(self, layout: Layout, found: Items[Floats]) -> tuple[int, ...]:
        of_chunks = np.split(found[0], np.cumsum(layout.lengths[:-1]))
        masses = np.array([mass.sum() / max(1, len(mass)) for mass in of_chunks])
        best = np.argsort(-masses, kind="stable")[: max(1, self.keep)].tolist()
        return tuple(best[::-1] if self.sort else sorted(best))


@dataclass(frozen=True, slots=True)
class Craft:
    """Those that attended most to other chunks in the prompt that a chunk's KV is from: the more,
    the more its KV is owed to chunks that do not stand before it now. Which is known beforehand
    (Cache-Craft, SIGMOD'25, arXiv 2502.15734, without its early end for chunks that the question
    ignores)."""

    alpha: float

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        return () if layout.records else (Contact(0, layout.num_layers),)

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:  # noqa: ARG002
        if not layout.records:
            return layout.none() | True
        own = (self._own(layout, i) for i in range(len(layout.records)))
        return np.concatenate([np.zeros(0, np.bool_), *own])

    def overhead(self, record: Record, before: Items[str]) -> Ratio:
        """Equation 12."""
        return min(1.0, self.alpha * record.impact * (1 - record.overlap(before)))

    def _own(self, layout: Layout, chunk: int) -> Bools:
        record, length = layout.records[chunk], layout.lengths[chunk]
        chosen = np.zeros(length, np.bool_)
        share = self.overhead(record, layout.texts[:chunk])
        chosen[record.ranked()[: math.ceil(share * length)]] = True
        return chosen


_FADING = (2.0, 4 / 3, 1.0, 2 / 3)  # of the ratio, at the checks of a gradual choice


@dataclass(frozen=True, slots=True)
class Gradual:
    """CacheBlend's gradual filtering: each check computes what the one before has left, and keeps
    fewer of it. The ratio is that of most layers."""

    ratio: Ratio

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        checks = (1 + i * layout.num_layers // 8 for i in range(len(_FADING)))
        return tuple(Deviation(min(layer, layout.num_layers - 1)) for layer in checks)

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:
        chosen = layout.inexact
        for share, scores in zip(_FADING, found, strict=False):
            chosen = layout.best(scores, min(1.0, share * self.ratio), among=chosen)
        return chosen


@dataclass(frozen=True, slots=True)
class WithFirst:
    """Another plan's, and the first k of each chunk."""

    plan: Plan
    k: int

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        return self.plan.looks(layout)

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:
        return self.plan.choose(layout, found) | Lego(self.k).choose(layout, ())


@dataclass(frozen=True, slots=True)
class Alone:
    """Another plan's, of chunks that were encoded alone and not behind the prompt's prefix: their
    KV serves prompts of any prefix. Each then begins with a token that draws attention as the start
    of a prompt does, so a few of the first have to be computed again."""

    plan: Plan

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        return self.plan.looks(layout)

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:
        return self.plan.choose(layout, found)


@dataclass(frozen=True, slots=True)
class InContext:
    """Another plan's, of chunks that were encoded behind `num_tokens` more of some other text, as
    all chunks of a prompt but the first stand behind others. What the text says matters little:
    it is the same for all, so it is computed once."""

    plan: Plan
    num_tokens: int

    def looks(self, layout: Layout) -> tuple[Look, ...]:
        return self.plan.looks(layout)

    def choose(self, layout: Layout, found: Items[Floats]) -> Bools:
        return self.plan.choose(layout, found)


@dataclass(frozen=True, slots=True)
class Encoding:
    """What chunks are encoded behind."""

    is_alone: bool = False  # not the prompt's prefix
    num_context: int = 0  # tokens of other text, right before a chunk


def encoding_of(plan: Plan) -> Encoding:
    is_alone, num_context = False, 0
    while isinstance(plan, Alone | InContext | WithFirst):
        is_alone |= isinstance(plan, Alone)
        num_context = plan.num_tokens if isinstance(plan, InContext) else num_context
        plan = plan.plan
    return Encoding(is_alone, num_context)
