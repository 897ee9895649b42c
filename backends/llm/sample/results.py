"""The results of a step: for a decode its sampled token and accepted guesses, for a scored choice
its log-probabilities."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from itertools import accumulate, islice

from torch import Tensor

from backends.llm.model.batch import Run, StepOutput
from backends.llm.sample.logprobs import BytesOf, score
from backends.llm.sample.sampler import Pick, Picks, Row, agree, sample

SamplingResult = Picks | list[float]  # a decode's tokens, or the log-probabilities of a choice's
SamplingResults = list[SamplingResult | None]  # one for each run; None where nothing was wanted
Sampler = Callable[[StepOutput, Items[Run], BytesOf], SamplingResults]  # as `sampling_results`


def sampling_results(output: StepOutput, runs: Items[Run], bytes_of: BytesOf) -> SamplingResults:
    """Of runs that want no logits the model's tokens, of the others what their logits say."""
    likeliest = iter(output.tokens.tolist())
    of_logits: Iterator[SamplingResult] = iter(())
    if output.logits is not None:
        wanting = [run for run in runs if run.num_logits and run.sequence.wants_logits]
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


def _of_logits(logits: Tensor, runs: Items[Run], bytes_of: BytesOf) -> list[SamplingResult]:
    """One result a run. The logits [R, V] hold the rows of all runs, end to end."""
    if all(run.sequence.scoring is None for run in runs):
        return [*_picks(logits, runs, bytes_of)]
    ends = list(accumulate(run.num_logits for run in runs))
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
