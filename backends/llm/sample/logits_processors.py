"""Logits processors: penalties, bias and min_tokens, applied before a token is sampled.

Each output keeps the token ids that it changes in arrays; a step concatenates those of all rows
and updates the logits with one indexed operation.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.llm.model.dtypes import Logits
from backends.llm.requests.sampling import Sampling

Ids = NDArray[np.int64]
Numbers = NDArray[np.float32]


class Seen:
    """Each token of a text once, with how often it was generated. Adding one is O(1)."""

    def __init__(self, prompt: Iterable[int] = ()) -> None:
        self._place = {token: i for i, token in enumerate(dict.fromkeys(prompt))}
        size = max(64, 2 * len(self._place))
        self._ids = np.zeros(size, np.int64)
        self._counts = np.zeros(size, np.float32)
        self._ids[: len(self._place)] = list(self._place)

    def add(self, token: int) -> None:
        place = self._place.setdefault(token, len(self._place))
        if place == len(self._ids):
            self._ids = np.concatenate((self._ids, np.zeros_like(self._ids)))
            self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))
        self._ids[place] = token
        self._counts[place] += 1

    @property
    def ids(self) -> Ids:
        return self._ids[: len(self._place)]

    @property
    def counts(self) -> Numbers:
        return self._counts[: len(self._place)]


class LogitsProcessor:
    """The logits processor of one output."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], end_ids: Iterable[int]) -> None:
        self.sampling = sampling
        seen_in_prompt = prompt if sampling.repetition_penalty != 1 else ()
        self.seen = Seen(seen_in_prompt) if sampling.has_penalties else None
        self.bias_ids = np.array(list(sampling.logit_bias), np.int64)
        self.bias = np.array(list(sampling.logit_bias.values()), np.float32)
        self.end_ids = np.array(sorted(end_ids), np.int64)  # forbidden before min_tokens

    def add(self, token: int) -> None:
        """Note a generated token."""
        if self.seen is not None:
            self.seen.add(token)


def logits_processor_of(
    sampling: Sampling, prompt: Sequence[int], end_ids: Iterable[int]
) -> LogitsProcessor | None:
    """None if the logits stay unchanged."""
    if not (sampling.has_penalties or sampling.logit_bias or sampling.min_tokens):
        return None
    return LogitsProcessor(sampling, prompt, end_ids)


def apply_processors(logits: Logits, rows: Sequence[tuple[int, int, LogitsProcessor]]) -> None:
    """Change logits [R, V] in place: `rows` holds (row, output length, processor)."""
    _penalise(logits, [(row, own) for row, _, own in rows if own.seen is not None])
    biased = [(row, own) for row, _, own in rows if len(own.bias)]
    if biased:
        at = _places(logits, [(row, own.bias_ids) for row, own in biased])
        logits[at] += _on(logits, np.concatenate([own.bias for _, own in biased]))
    unending = [(row, own.end_ids) for row, size, own in rows if size < own.sampling.min_tokens]
    if unending:
        logits[_places(logits, unending)] = float("-inf")


def _penalise(logits: Logits, rows: Sequence[tuple[int, LogitsProcessor]]) -> None:
    parts = [(row, own.seen, own.sampling) for row, own in rows if own.seen is not None]
    if not parts:
        return
    at = _places(logits, [(row, seen.ids) for row, seen, _ in parts])  # n pairs (row, token)
    counts = _on(logits, np.concatenate([seen.counts for _, seen, _ in parts]))  # [n]
    sizes = [len(seen.ids) for _, seen, _ in parts]
    repetition, frequency, presence = (
        _on(logits, np.repeat(np.array(column, np.float32), sizes))  # [n]
        for column in zip(
            *((s.repetition_penalty, s.frequency_penalty, s.presence_penalty) for _, _, s in parts),
            strict=True,
        )
    )
    found = logits[at]  # [n], a copy
    is_likely = found > 0
    found[is_likely] /= repetition[is_likely]
    found[~is_likely] *= repetition[~is_likely]
    logits[at] = found - frequency * counts - presence * (counts > 0)


def _places(logits: Logits, rows: Sequence[tuple[int, Ids]]) -> tuple[Any, Any]:
    """Index tensors of the tokens of all rows."""
    numbers = np.repeat([row for row, _ in rows], [len(ids) for _, ids in rows])
    return _on(logits, numbers), _on(logits, np.concatenate([ids for _, ids in rows]))


def _on(logits: Logits, array: NDArray[np.generic]) -> Any:
    """As an array of the kind that the logits are."""
    if isinstance(logits, np.ndarray):
        return array
    import torch

    return torch.from_numpy(array).to(logits.device)
