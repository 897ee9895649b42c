"""What sequences of an emulated LLM say: a script each, written before they run.

A script is a text as tokens. Under a grammar its tokens are checked one by one, since the grammar
writes some by itself and may cut the text into other tokens; where the text leaves the grammar, the
shortest way to its end is taken.
"""

from collections.abc import Sequence as Items
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np

from backends.llm.model.batch import Run, StepOutput
from backends.llm.sample.grammar import Matcher
from backends.llm.sample.sampler import Pick, SamplingResult, SamplingResults
from backends.llm.sequence.sequence import Sequence
from backends.llm.text.token_bytes import BytesOf
from backends.llm.text.tokenizer import Tokenizer

_ENDINGS = ('"', "}", "]", "0", ",", ":", " ", "a")  # what leads out of a JSON text, best first


class Script(Protocol):
    def next_token(self, sequence: Sequence) -> int:
        """The token after those that the sequence has."""


class FreeScript:
    """Tokens, then the end; where ends are ignored, the tokens again."""

    def __init__(self, tokens: list[int], end_id: int | None) -> None:
        self._tokens = tokens
        self._end_id = end_id

    def next_token(self, sequence: Sequence) -> int:
        place = sequence.num_output
        if place < len(self._tokens) or self._end_id is None:
            return self._tokens[place % len(self._tokens)]
        return self._end_id


class GrammarScript:
    """A text that a grammar watches."""

    def __init__(
        self, text: str, matcher: Matcher, end_id: int, tokenizer: Tokenizer, vocab_size: int
    ) -> None:
        self._text = text.encode()
        self._tokens = tokenizer.encode_text(text) if text else []
        self._matcher = matcher
        self._end_id = end_id
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size

    def next_token(self, sequence: Sequence) -> int:
        written = sequence.output_ids
        if self._tokens[: len(written)] != written:
            self._write_on(written)
        wanted = [*self._tokens, self._end_id][len(written)] if self._tokens else self._end_id
        return wanted if self._may_follow(wanted) else self._way_out()

    def _write_on(self, written: list[int]) -> None:
        """The rest of the text in tokens that follow what is written; none where it differs."""
        so_far = b"".join(map(self._tokenizer.bytes_of, written))
        rest = self._text.removeprefix(so_far) if self._text.startswith(so_far) else b""
        try:
            more = self._tokenizer.encode_text(rest.decode()) if rest else []
        except UnicodeDecodeError:  # in the middle of a character
            more = []
        self._tokens = [*written, *more]

    def _may_follow(self, token: int) -> bool:
        native = self._matcher.native
        if token == self._end_id:
            return bool(native.is_accepting())
        return bool(native.validate_tokens([token]) == 1)

    def _way_out(self) -> int:
        native = self._matcher.native
        if native.is_accepting():
            return self._end_id
        for ending in _ENDINGS:
            token = self._tokenizer.encode_text(ending)[0]
            if native.validate_tokens([token]) == 1:
                return token
        bits = np.frombuffer(native.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: self._vocab_size].nonzero()[0]
        return int(allowed[0]) if len(allowed) else self._end_id


class Scripts:
    """The scripts of live sequences. Takes the place of `sampling_results` in the core."""

    def __init__(self) -> None:
        self._scripts: WeakKeyDictionary[Sequence, Script] = WeakKeyDictionary()
        self._scores: WeakKeyDictionary[Sequence, float] = WeakKeyDictionary()

    def give(self, sequence: Sequence, script: Script) -> None:
        self._scripts[sequence] = script

    def give_score(self, sequence: Sequence, logprob: float) -> None:
        """The log-probability of each token of a scored choice."""
        self._scores[sequence] = logprob

    def results(self, _: StepOutput, runs: Items[Run], __: BytesOf) -> SamplingResults:
        """One result for each run that wants some, in order; the model has found nothing."""
        return [self._result(run) if run.num_logits else None for run in runs]

    def _result(self, run: Run) -> SamplingResult:
        sequence = run.sequence
        if sequence.scoring is not None:
            return [self._scores[sequence]] * run.num_logits
        return (Pick(self._scripts[sequence].next_token(sequence)),)
