"""Decoding that cannot leave a grammar: llguidance compiles JSON schemas, patterns and choices."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from numpy.typing import NDArray

from backends.errors import EngineError, RequestRejected
from backends.llm.model.dtypes import Logits
from backends.llm.requests.sampling import GrammarSource
from backends.llm.sample.pattern_size import MAX_PATTERN_SIZE, pattern_size, patterns_of
from backends.llm.text.tokenizer import Tokenizer
from backends.tool_calls.format import SPACING

if TYPE_CHECKING:
    from torch import Tensor


_NOT_ALLOWED = "doesn't satisfy the grammar"
_READABLE = {"NoExtensionBias": "no text can satisfy it, or not from here on"}


class Matcher:
    """How far one output has come in its grammar."""

    def __init__(self, matcher: LLMatcher, kind: str) -> None:
        self.native = matcher
        self._kind = kind  # of its source

    @property
    def is_finished(self) -> bool:
        """Nothing may follow but the end."""
        finished: bool = self.native.is_stopped()
        return finished

    def forced(self) -> list[int]:
        """The tokens that must come next, as the tokenizer would write their text: the mask allows
        nothing else at each of them. A last token that the text after it may change is left out."""
        tokens: list[int] = self.native.compute_ff_tokens()
        return tokens

    def consume(self, token_id: int) -> None:
        """Advance by a token the mask allowed. Raises as `check`."""
        self.native.consume_token(token_id)
        self.check()

    def check(self) -> None:
        """Raises RequestRejected when the matcher gave up, as it does on a grammar that needs too
        much work or that no text satisfies; EngineError for a token that the mask forbids."""
        if not self.native.is_error():
            return
        why = first_line(self.native)
        if _NOT_ALLOWED in why:
            raise EngineError(f"structured output failed: {why}")
        raise RequestRejected(f"{self._kind} cannot be followed: {_READABLE.get(why, why)}")

    def undo(self) -> None:
        """Go back by one token."""
        self.native.rollback(1)


def mask(logits: Logits, rows: Sequence[tuple[int, Matcher]]) -> None:
    """Set to -inf what grammars forbid in some rows of logits [R, V]: (row, its matcher). The end
    is allowed where the text may end.

    A matcher that gave up (a grammar beyond its limits) allows the end here and raises in `check`,
    so that it fails its own request and not the batch."""
    bits = np.zeros((len(rows), mask_words(logits.shape[1])), np.int32)  # [M, V / 32]
    tasks = [(matcher.native, place) for place, (_, matcher) in enumerate(rows)]
    _executor().unsafe_compute_mask_ptr(tasks, bits.ctypes.data, 4 * bits.shape[1], len(bits))
    if len(rows) == len(logits):
        apply_mask(logits, bits)
    else:
        at = [row for row, _ in rows]
        masked: Any = logits[at]  # [M, V]
        apply_mask(masked, bits)
        logits[at] = masked


def mask_words(vocab_size: int) -> int:
    """int32 words of a mask over the vocabulary."""
    return -(-vocab_size // 32)


def apply_mask(logits: Logits, bits: NDArray[np.int32]) -> None:
    """Set logits [R, V] to -inf where bits [R, V / 32] are 0; bits beyond V are no matter."""
    words = bits.view(np.uint8)  # [R, V / 8]: eight tokens a byte
    if isinstance(logits, np.ndarray):
        penalty = _penalties().take(words, axis=0).reshape(len(logits), -1)  # [R, V or a few more]
        logits += penalty[:, : logits.shape[1]]
    else:
        _apply_in_torch(logits, words)


def _apply_in_torch(logits: "Tensor", words: NDArray[np.uint8]) -> None:
    import torch

    table = torch.from_numpy(_penalties()).to(logits.device)
    penalty = table[torch.from_numpy(words).to(logits.device).int()].flatten(1)
    logits += penalty[:, : logits.shape[1]]


@cache
def _penalties() -> NDArray[np.float32]:
    """For each byte of a mask what to add to its eight tokens."""
    allowed = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(allowed == 1, np.float32(0), np.float32(-np.inf)).astype(np.float32)


@cache
def _executor() -> LLExecutor:
    return LLExecutor()


def first_line(matcher: LLMatcher) -> str:
    """What a matcher that failed says."""
    error: str = matcher.get_error()
    return error.splitlines()[0] if error else "unknown error"


MAX_GRAMMAR_CHARS = 1_000_000  # some seconds of compiling; llguidance bounds the work it does on it


class Grammars:
    """Compiled grammars of one tokenizer, the `capacity` used last; thread safe. Compiling blocks
    only requests for the same grammar."""

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, stop_ids: Sequence[int], capacity: int = 64
    ) -> None:
        self._source = (tokenizer, vocab_size, list(stop_ids))
        self._tokenizer: LLTokenizer | None = None
        self._making_tokenizer = threading.Lock()
        self._capacity = capacity
        self._compiled: OrderedDict[GrammarSource, Future[LLMatcher]] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, source: GrammarSource) -> Matcher:
        """A fresh matcher. Raises RequestRejected when the grammar is wrong or unsupported."""
        with self._lock:
            known = self._compiled.get(source)
            found = self._compiled.setdefault(source, known or Future())
            self._compiled.move_to_end(source)
            if len(self._compiled) > self._capacity:
                self._compiled.popitem(last=False)
        if known is None:
            self._fill(found, source)
        return Matcher(found.result().deep_copy(), source.kind)

    def _fill(self, found: "Future[LLMatcher]", source: GrammarSource) -> None:
        try:
            found.set_result(self._compile(source))
        except BaseException as error:
            with self._lock:
                self._compiled.pop(source, None)
            found.set_exception(error)

    def _compile(self, source: GrammarSource) -> LLMatcher:
        if len(source.text) > MAX_GRAMMAR_CHARS:
            raise RequestRejected(
                f"{source.kind} has {len(source.text)} characters; {MAX_GRAMMAR_CHARS} are allowed"
            )
        _check_patterns(source)
        matcher = LLMatcher(self._llguidance_tokenizer(), _grammar_of(source), log_level=0)
        Matcher(matcher, source.kind).check()
        return matcher

    def _llguidance_tokenizer(self) -> LLTokenizer:
        with self._making_tokenizer:
            if self._tokenizer is None:
                tokenizer, vocab_size, stop_ids = self._source
                self._tokenizer = LLTokenizer(
                    tokenizer.to_json(), n_vocab=vocab_size, eos_token=stop_ids or None
                )
            return self._tokenizer


def _check_patterns(source: GrammarSource) -> None:
    patterns: Iterable[str] = [source.text] if source.kind == "regex" else ()
    if source.kind == "schema":
        patterns = patterns_of(source.text)
    for pattern in patterns:
        if (size := pattern_size(pattern)) > MAX_PATTERN_SIZE:
            raise RequestRejected(
                f"{source.kind} has the pattern {pattern[:40]!r}, which stands for {size} "
                f"characters with its repeats written out; {MAX_PATTERN_SIZE} are allowed"
            )


def _grammar_of(source: GrammarSource) -> str:
    """The grammar as llguidance writes it."""
    if source.kind == "regex":
        grammar: str = LLMatcher.grammar_from_regex(source.text)
    elif source.kind == "tools":
        grammar = LLMatcher.grammar_from_lark(source.text)
    elif source.kind == "choices":
        words = " | ".join(json.dumps(choice) for choice in json.loads(source.text))
        grammar = LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {words}")
    else:
        try:
            grammar = LLMatcher.grammar_from_json_schema(source.text, overrides=SPACING)
        except ValueError as error:
            raise RequestRejected(f"schema is not a JSON object: {error}") from error
    return grammar
