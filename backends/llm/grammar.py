"""Decoding that cannot leave a JSON schema: llguidance says which tokens may come next."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from llguidance import LLMatcher, LLTokenizer
from torch import Tensor

from backends.errors import EngineError, RequestRejected
from backends.llm.tokenizer import Tokenizer

# No free whitespace: small models would loop on it. The separators are those of json.dumps.
_FORMAT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Matcher:
    """How far one output has come in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def is_finished(self) -> bool:
        """Nothing may follow but the end."""
        finished: bool = self._matcher.is_stopped()
        return finished

    def fill_mask(self, bits: Tensor) -> None:
        """Write one bit a token into int32 [V / 32]; the end is allowed where the text may end.

        A matcher that gave up (a grammar beyond its limits) allows all here and raises in
        `consume`, so that it fails its own request and not the batch."""
        self._matcher.unsafe_compute_mask_ptr(bits.data_ptr(), bits.numel() * bits.itemsize)
        if self._matcher.is_error():
            bits.fill_(-1)

    def consume(self, token_id: int) -> None:
        """Advance by a token the mask allowed. Raises EngineError when the matcher gave up."""
        self._matcher.consume_token(token_id)
        if self._matcher.is_error():
            raise EngineError(f"structured output failed: {_first_line(self._matcher)}")


class Grammars:
    """Compiled schemas of one tokenizer, the `capacity` used last; thread safe."""

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, stop_ids: Sequence[int], capacity: int = 64
    ) -> None:
        self.vocab_size = vocab_size
        self._source = (tokenizer, list(stop_ids))
        self._tokenizer: LLTokenizer | None = None
        self._capacity = capacity
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, schema: str) -> Matcher:
        """A fresh matcher. Raises RequestRejected when the schema is wrong or unsupported."""
        with self._lock:
            compiled = self._compiled.get(schema)
            if compiled is None:
                compiled = self._compiled[schema] = self._compile(schema)
            self._compiled.move_to_end(schema)
            if len(self._compiled) > self._capacity:
                self._compiled.popitem(last=False)
            return Matcher(compiled.deep_copy())

    def _compile(self, schema: str) -> LLMatcher:
        if self._tokenizer is None:
            tokenizer, stop_ids = self._source
            self._tokenizer = LLTokenizer(
                tokenizer.to_json(), n_vocab=self.vocab_size, eos_token=stop_ids or None
            )
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_FORMAT)
        except ValueError as error:
            raise RequestRejected(f"schema is not a JSON object: {error}") from error
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise RequestRejected(f"schema cannot be followed: {_first_line(matcher)}")
        return matcher


def mask_words(vocab_size: int) -> int:
    """int32 words of a mask over the vocabulary."""
    return -(-vocab_size // 32)


def apply_mask(logits: Tensor, bits: Tensor) -> None:
    """Set logits [R, V] to -inf where bits [R, V / 32] are 0."""
    shifts = torch.arange(32, device=bits.device, dtype=bits.dtype)  # [32]
    allowed = (bits.unsqueeze(-1) >> shifts & 1).flatten(1)  # [R, V rounded up to 32]
    logits.masked_fill_(allowed[:, : logits.shape[1]] == 0, float("-inf"))


def _first_line(matcher: LLMatcher) -> str:
    error: str = matcher.get_error()
    return error.splitlines()[0] if error else "unknown error"
