"""From logits to one token a row: first logits processors and masks, then all greedy rows, then all
sampled rows.

A sampled row inverts its cumulative distribution at a random number of its seed and position, so
its tokens do not depend on the other requests of the batch.
"""

from collections.abc import Callable, Sequence
from collections.abc import Sequence as Items
from typing import NamedTuple

import torch
from torch import Tensor

from backends.base import TokenLogprob
from backends.llm.model.batch import NO_TOKEN
from backends.llm.requests.sampling import Sampling
from backends.llm.sample.grammar import mask
from backends.llm.sample.logits_processors import apply_processors
from backends.llm.sample.logprobs import BytesOf, report
from backends.llm.sample.random_numbers import uniforms_at
from backends.llm.sample.top_k_top_p import draw, draw_truncated, likeliest
from backends.llm.sequence.generation import Generation

Draw = Callable[[Tensor, Sequence[Sampling], Tensor], Tensor]


class Row(NamedTuple):
    """The logits that decide one token."""

    generation: Generation
    place: int  # in its output, from 0


class Pick(NamedTuple):
    """A sampled token."""

    token: int
    logprob: TokenLogprob | None = None  # if asked for


def sample(logits: Tensor, rows: Sequence[Row], bytes_of: BytesOf) -> list[Pick]:
    """A token for each row of logits [R, V] (float32, changed in place); NO_TOKEN where a logit is
    NaN or the largest is not finite."""
    told = [i for i, row in enumerate(rows) if row.generation.sampling.logprobs is not None]
    raw = logits[told] if told else None  # a copy, before anything changes
    _restrict(logits, rows)
    tokens = _pick(logits, rows)
    picks = [Pick(token) for token in tokens]
    if raw is not None:
        sizes = [rows[i].generation.sampling.logprobs or 0 for i in told]
        logprobs = report(raw, [max(0, tokens[i]) for i in told], sizes, bytes_of)
        for i, logprob in zip(told, logprobs, strict=True):
            picks[i] = Pick(tokens[i], logprob)
    return picks


def _pick(logits: Tensor, rows: Sequence[Row]) -> list[int]:
    drawn = [i for i, row in enumerate(rows) if not row.generation.sampling.is_greedy]
    tokens = [NO_TOKEN] * len(rows) if len(drawn) == len(rows) else likeliest(logits).tolist()
    for draws, is_truncated in ((draw_truncated, True), (draw, False)):  # `draw` spends the logits
        at = [i for i in drawn if rows[i].generation.sampling.is_truncated is is_truncated]
        if at:
            for i, token in zip(at, _draw(logits, rows, at, draws), strict=True):
                tokens[i] = token
    return tokens


def _draw(logits: Tensor, rows: Sequence[Row], at: list[int], draws: Draw) -> list[int]:
    places = [rows[i].place for i in at]
    uniforms = uniforms_at([rows[i].generation.stream for i in at], places)  # [len(at)]
    samplings = [rows[i].generation.sampling for i in at]
    some = logits if len(at) == len(rows) else logits[at]  # [len(at), V]
    tokens: list[int] = draws(
        some, samplings, torch.from_numpy(uniforms).to(logits.device)
    ).tolist()
    return tokens


def _restrict(logits: Tensor, rows: Sequence[Row]) -> None:
    """Penalties, biases, ends that come too early, grammars."""
    processed = [
        (i, row.place, row.generation.logits_processor)
        for i, row in enumerate(rows)
        if row.generation.logits_processor is not None
    ]
    if processed:
        apply_processors(logits, processed)
    masked = [
        (i, row.generation.matcher)
        for i, row in enumerate(rows)
        if row.generation.matcher is not None
    ]
    if masked:
        mask(logits, masked)


Picks = tuple[Pick, ...]  # tokens in a row: guesses that came true, and the one after them


def agree(guesses: Items[int], picks: Picks) -> Picks:
    """The picks [1 + guesses] as far as each was made behind true tokens: up to and with the first
    that is not what was guessed."""
    for place, guess in enumerate(guesses):
        if picks[place].token != guess:
            return picks[: place + 1]
    return picks
