"""The results of a step's logits: for a decode its sampled token and accepted guesses, for a scored
choice its log-probabilities."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from itertools import islice

import torch
from torch import Tensor

from backends.llm.model.batch import Run
from backends.llm.sample.logprobs import BytesOf, score
from backends.llm.sample.sampler import Row, sample
from backends.llm.speculation.agree import Picks, agree

SamplingResult = Picks | list[float]  # a decode's tokens, or the log-probabilities of a choice's

Sampler = Callable[[Tensor, Items[Run], BytesOf], list[SamplingResult]]  # as `sampling_results`


def sampling_results(logits: Tensor, runs: Items[Run], bytes_of: BytesOf) -> list[SamplingResult]:
    """One result a run, in order. The logits [R, V] hold the rows of all runs, concatenated."""
    if all(run.sequence.scoring is None for run in runs):
        return [*_picks(logits, runs, bytes_of)]
    ends = torch.tensor([run.num_logits for run in runs]).cumsum(0).tolist()
    results: list[SamplingResult] = [[] for _ in runs]
    decodes = [i for i, run in enumerate(runs) if run.sequence.scoring is None]
    for i, (run, end) in enumerate(zip(runs, ends, strict=True)):
        if run.sequence.scoring is not None:
            results[i] = score(logits[end - run.num_logits : end], _targets(run))
    if decodes:
        at = [row for i in decodes for row in range(ends[i] - runs[i].num_logits, ends[i])]
        found = _picks(logits[at], [runs[i] for i in decodes], bytes_of)
        for i, picks in zip(decodes, found, strict=True):
            results[i] = picks
    return results


def _picks(logits: Tensor, runs: Items[Run], bytes_of: BytesOf) -> list[Picks]:
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
