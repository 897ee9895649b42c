"""A small model drafts tokens, in batches, on KV of its own.

It draws each token with the random point that the target will use there: where the two models find
the same tokens likely, the draws agree too, which a likeliest token would not at temperature 1.
The KV of rejected tokens is dropped before it continues.
"""

from collections.abc import Callable
from collections.abc import Sequence as Items
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from backends.errors import ConfigError
from backends.llm.kv.cache import KVCache
from backends.llm.model.batch import BatchBuilder, Run, StepOutput
from backends.llm.model.config import ModelConfig
from backends.llm.model.dtypes import Logits
from backends.llm.model.step_model import StepModel
from backends.llm.sample.sampler import Row, sample
from backends.llm.sequence.sequence import Sequence
from backends.llm.speculation.proposer import Ask
from backends.llm.text.tokenizer import Tokenizer

MOST_READ = 512  # prompt tokens of one step: bounds the delay of decodes
FEW = 8  # tokens that are read with the last one, at hardly a cost


class DraftProposer:
    """Follows each sequence with a shadow of its own: a prompt that is all the sequence has, an
    output that is guessed. Not thread safe."""

    def __init__(
        self,
        model: StepModel[Any],
        num_pages: int,
        page_size: int,
        num_rows: int,
        vocab_size: int,
        clock: Callable[[], float],
    ) -> None:
        self.catch_up_s = 0.0
        self._model = model
        self._kv = model.make_pool(num_pages, page_size)
        self.cache = KVCache(num_pages, page_size, self._kv.copy_page)
        self._batches = BatchBuilder(self.cache.pool, num_rows, num_pages * page_size)
        self._vocab_size = vocab_size  # the target's
        self._clock = clock
        self._shadows: dict[Sequence, Sequence] = {}

    @torch.inference_mode()
    def propose(self, asks: Items[Ask]) -> list[list[int]]:
        """Guesses for each, none to `most`."""
        started_s = self._clock()
        shadows = [self._follow(sequence) for sequence, _ in asks]
        self._read(shadows)
        self.catch_up_s = self._clock() - started_s
        writing = [ask for ask in asks if self._can_write(ask, shadows)]
        for place in range(max((most for _, most in writing), default=0)):
            self._write([sequence for sequence, most in writing if place < most])
        self.cache.settle()
        return [self._shadows[sequence].output_ids for sequence, _ in asks]

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended; what was read of it may still be found."""
        shadow = self._shadows.pop(sequence, None)
        if shadow is not None:
            self._publish(shadow)
            self.cache.drop(shadow.table)

    def check_integrity(self) -> None:
        """Raise AssertionError unless every page's count equals its actual holders."""
        self.cache.check_integrity(shadow.table for shadow in self._shadows.values())

    def _follow(self, sequence: Sequence) -> Sequence:
        """The shadow, cut back to what it has in common with its sequence."""
        shadow = self._shadows.get(sequence)
        if shadow is None:
            ids = self._known(sequence.ids)
            shadow = Sequence(sequence.request, 0, None, ids, None, salt=sequence.salt)
            shadow.wants_logits = sequence.wants_logits or self._is_wider
            self._shadows[sequence] = shadow
        same = shadow.num_prompt
        while same < min(len(shadow.ids), len(sequence.ids)):
            if shadow.ids[same] != sequence.ids[same]:
                break
            same += 1
        shadow.ids[same:] = self._known(sequence.ids[same:])
        shadow.num_prompt = len(shadow.ids)
        self.cache.truncate(shadow.table, min(same, len(shadow.ids) - 1))
        if shadow.num_to_prefill > FEW:
            self.cache.match(shadow.table, shadow.ids[:-1])
        return shadow

    def _read(self, shadows: Items[Sequence]) -> None:
        """Prompts, and what was missed while guesses rested."""
        runs: list[Run] = []
        left = MOST_READ
        for shadow in shadows:
            num_tokens = min(left, shadow.num_to_prefill)
            end = shadow.table.num_computed + num_tokens
            if shadow.num_to_prefill > FEW and num_tokens and self._has_room(shadow, end, shadows):
                runs.append(Run(shadow, num_tokens, 0, shadow.table.num_computed))
                left -= num_tokens
        if runs:
            self._run(runs)
        for shadow, num_tokens, *_ in runs:
            shadow.table.num_computed += num_tokens
            self._publish(shadow)

    def _can_write(self, ask: Ask, shadows: Items[Sequence]) -> bool:
        shadow = self._shadows[ask.sequence]
        end = len(shadow.ids) + ask.most - 1
        return (
            shadow.num_to_prefill <= FEW
            and end <= self._model.config.max_positions
            and self._has_room(shadow, end, shadows)
        )

    def _write(self, sequences: list[Sequence]) -> None:
        """One more guess for each."""
        shadows = [self._shadows[sequence] for sequence in sequences]
        runs = [Run(s, len(s.ids) - s.table.num_computed, 1, s.table.num_computed) for s in shadows]
        output = self._run(runs)
        drawn = iter(self._draw(output.logits, sequences))
        for shadow, likeliest in zip(shadows, output.tokens.tolist(), strict=True):
            token = next(drawn) if shadow.wants_logits else likeliest
            shadow.table.num_computed = len(shadow.ids)
            shadow.ids.append(max(0, token))  # NO_TOKEN: any guess will do

    def _draw(self, logits: "Logits | None", sequences: Items[Sequence]) -> list[int]:
        """What the target would sample of the draft's logits [R, V]."""
        if logits is None:
            return []
        rows: list[Row] = []
        for sequence in sequences:
            shadow = self._shadows[sequence]
            if shadow.wants_logits and sequence.generation is not None:
                rows.append(Row(sequence.generation, sequence.num_output + shadow.num_output))
        return [pick.token for pick in sample(_fit(logits, self._vocab_size), rows, lambda _: b"")]

    def _run(self, runs: Items[Run]) -> StepOutput:
        return self._model.launch(self._batches.build(runs), self._kv).collect()

    def _has_room(self, shadow: Sequence, num_tokens: int, kept: Items[Sequence]) -> bool:
        """Reserve pages, taking them from shadows of sequences that do not decode now if need
        be: they would read again."""
        if self.cache.reserve(shadow.table, num_tokens):
            return True
        for other in self._shadows.values():
            if other not in kept:
                self.cache.drop(other.table)
        return self.cache.reserve(shadow.table, num_tokens)

    def _publish(self, shadow: Sequence) -> None:
        table = shadow.table
        self.cache.publish(table, shadow.ids, min(table.num_computed, shadow.num_prompt))

    @property
    def _is_wider(self) -> bool:
        """Its likeliest token may be one that the target does not have."""
        return self._model.config.vocab_size > self._vocab_size

    def _known(self, ids: list[int]) -> list[int]:
        """Ids behind the vocabulary (padding of the target's matrix) are read as another one."""
        return [token if token < self._model.config.vocab_size else 0 for token in ids]


def _fit(logits: Logits, vocab_size: int) -> Tensor:
    """Logits [R, V] as wide as the target's: matrices of one vocabulary may be padded unlike."""
    logits = torch.as_tensor(logits)
    missing = vocab_size - logits.shape[1]
    return F.pad(logits, (0, missing), value=float("-inf")) if missing else logits


def check_same_vocabulary(target: Tokenizer, draft: Tokenizer, config: ModelConfig) -> None:
    """Raises ConfigError that names the first difference. `config` is the draft's; rows of its
    output beyond the vocabulary (padding) are no matter."""
    if config.vocab_size < target.vocab_size or draft.vocab_size != target.vocab_size:
        found = min(config.vocab_size, draft.vocab_size)
        raise ConfigError(
            f"the draft model knows {found} tokens and the model {target.vocab_size}: "
            "a draft needs the same vocabulary"
        )
    for token in range(target.vocab_size):
        if target.token(token) != draft.token(token):
            raise ConfigError(
                f"token {token} is {draft.token(token)!r} to the draft model and "
                f"{target.token(token)!r} to the model: a draft needs the same vocabulary"
            )
