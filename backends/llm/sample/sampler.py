"""From the logits of a step to its tokens: logits processors and masks, then all greedy rows, then
all sampled ones. For a decode a result is its token and the guesses before it that came true, for a
scored choice its log-probabilities.

A sampled row inverts its cumulative distribution at a random number of its seed and position, so
its tokens do not depend on the other requests of the batch.
"""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, islice
from typing import NamedTuple

import numpy as np

from backends.base import TokenLogprob
from backends.llm.model.batch import NO_TOKEN, Run, StepOutput
from backends.llm.model.dtypes import Logits
from backends.llm.sample.grammar import mask
from backends.llm.sample.logits_processors import apply_processors
from backends.llm.sample.random_numbers import uniforms_at
from backends.llm.sequence.generation import Generation
from backends.llm.text.token_bytes import BytesOf


class Row(NamedTuple):
    """The logits that decide one token."""

    generation: Generation
    place: int  # in its output, from 0


class Pick(NamedTuple):
    """A sampled token."""

    token: int
    logprob: TokenLogprob | None = None  # if asked for


def sample(logits: Logits, rows: Items[Row], bytes_of: BytesOf) -> list[Pick]:
    """A token for each row of logits [R, V] (float32, changed in place); NO_TOKEN where a logit is
    NaN or the largest is not finite."""
    told = [i for i, row in enumerate(rows) if row.generation.sampling.logprobs is not None]
    raw = logits[told] if told else None  # a copy, before anything changes
    _restrict(logits, rows)
    tokens = _pick(logits, rows)
    picks = [Pick(token) for token in tokens]
    if raw is not None:
        sizes = [rows[i].generation.sampling.logprobs or 0 for i in told]
        from backends.llm.sample.logprobs import report

        logprobs = report(raw, [max(0, tokens[i]) for i in told], sizes, bytes_of)
        for i, logprob in zip(told, logprobs, strict=True):
            picks[i] = Pick(tokens[i], logprob)
    return picks


def _pick(logits: Logits, rows: Items[Row]) -> list[int]:
    drawn = [i for i, row in enumerate(rows) if not row.generation.sampling.is_greedy]
    tokens = [NO_TOKEN] * len(rows) if len(drawn) == len(rows) else _likeliest(logits)
    for is_truncated in (True, False):  # the latter spends the logits
        at = [i for i in drawn if rows[i].generation.sampling.is_truncated is is_truncated]
        if at:
            for i, token in zip(at, _draw(logits, rows, at, is_truncated), strict=True):
                tokens[i] = token
    return tokens


def _likeliest(logits: Logits) -> list[int]:
    """The lowest of equals."""
    if not isinstance(logits, np.ndarray):
        from backends.llm.sample.top_k_top_p import likeliest

        return list(likeliest(logits).tolist())
    tokens = logits.argmax(axis=1)  # [R]; a NaN is the largest
    peaks = logits[np.arange(len(logits)), tokens]  # [R]
    return list(np.where(np.isfinite(peaks), tokens, NO_TOKEN).tolist())


def _draw(logits: Logits, rows: Items[Row], at: list[int], is_truncated: bool) -> list[int]:
    from backends.llm.sample.top_k_top_p import draw_at

    places = [rows[i].place for i in at]
    uniforms = uniforms_at([rows[i].generation.stream for i in at], places)  # [len(at)]
    samplings = [rows[i].generation.sampling for i in at]
    some = logits if len(at) == len(rows) else logits[at]  # [len(at), V]
    return draw_at(some, samplings, uniforms, is_truncated)


def _restrict(logits: Logits, rows: Items[Row]) -> None:
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


# A decode's tokens, or the log-probabilities of a choice's or a prompt's
SamplingResult = Picks | list[float] | list[TokenLogprob]
SamplingResults = list[SamplingResult | None]  # one for each run; None where nothing was wanted
Sampler = Callable[[StepOutput, Items[Run], BytesOf], SamplingResults]  # as `sampling_results`


def sampling_results(output: StepOutput, runs: Items[Run], bytes_of: BytesOf) -> SamplingResults:
    """Of runs that want no logits the model's tokens, of the others what their logits say."""
    likeliest = iter(output.tokens.tolist())
    of_logits: Iterator[SamplingResult] = iter(())
    if output.logits is not None:
        wanting = [run for run in runs if run.num_logits and run.sequence.wants_logits]
        with _changing(output.logits):
            of_logits = iter(_of_logits(output.logits, wanting, bytes_of))
    results: SamplingResults = []
    for run in runs:
        tokens = tuple(map(Pick, islice(likeliest, run.num_logits)))
        if not tokens:
            results.append(None)
        elif run.sequence.wants_logits:
            results.append(next(of_logits))
        else:
            results.append(agree(run.guesses, tokens))
    return results


def _changing(logits: Logits) -> AbstractContextManager[object]:
    """Torch's models compute in its inference mode, and their tensors change in no other."""
    if isinstance(logits, np.ndarray):
        return nullcontext()
    import torch

    return torch.inference_mode()


def _of_logits(logits: Logits, runs: Items[Run], bytes_of: BytesOf) -> list[SamplingResult]:
    """One result a run. The logits [R, V] hold the rows of all runs, end to end."""
    if all(run.sequence.scoring is None for run in runs):
        return [*_picks(logits, runs, bytes_of)]
    ends = list(accumulate(run.num_logits for run in runs))
    results: list[SamplingResult] = [[] for _ in runs]
    decodes = [i for i, run in enumerate(runs) if run.sequence.scoring is None]
    for i, (run, end) in enumerate(zip(runs, ends, strict=True)):
        if run.sequence.scoring is not None:
            rows, num_top = logits[end - run.num_logits : end], run.sequence.scoring.num_top
            results[i] = _scores(rows, _targets(run), num_top, bytes_of)
    if decodes:
        at = [row for i in decodes for row in range(ends[i] - runs[i].num_logits, ends[i])]
        found = _picks(logits[at], [runs[i] for i in decodes], bytes_of)
        for i, picks in zip(decodes, found, strict=True):
            results[i] = picks
    return results


def _scores(
    logits: Logits, targets: list[int], num_top: int | None, bytes_of: BytesOf
) -> list[float] | list[TokenLogprob]:
    from backends.llm.sample.logprobs import report, score

    if num_top is None:
        return score(logits, targets)
    return report(logits, targets, [num_top] * len(targets), bytes_of)


def _picks(logits: Logits, runs: Items[Run], bytes_of: BytesOf) -> list[Picks]:
    picks = iter(sample(logits, [row for run in runs for row in _rows(run)], bytes_of))
    return [agree(run.guesses, tuple(islice(picks, run.num_logits))) for run in runs]


def _rows(run: Run) -> Iterator[Row]:
    generation = run.sequence.generation
    assert generation is not None, f"{run.sequence} is not a decode"
    first = run.sequence.num_output
    return (Row(generation, place) for place in range(first, first + run.num_logits))


def _targets(run: Run) -> list[int]:
    """The tokens after those whose logits are wanted."""
    end = run.sequence.table.num_computed + run.num_tokens
    return run.sequence.ids[end - run.num_logits + 1 : end + 1]
