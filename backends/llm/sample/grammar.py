"""Decoding that cannot leave a grammar: llguidance compiles JSON schemas, patterns and choices."""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future

from llguidance import LLMatcher, LLTokenizer

from backends.errors import RequestRejected
from backends.llm.requests.sampling import GrammarSource
from backends.llm.sample.json_spacing import JSON_SPACING
from backends.llm.sample.matcher import Matcher, first_line
from backends.llm.text.tokenizer import Tokenizer

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
        return Matcher(found.result().deep_copy())

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
        matcher = LLMatcher(self._llguidance_tokenizer(), _grammar_of(source), log_level=0)
        if matcher.is_error():
            raise RequestRejected(f"{source.kind} cannot be followed: {first_line(matcher)}")
        return matcher

    def _llguidance_tokenizer(self) -> LLTokenizer:
        with self._making_tokenizer:
            if self._tokenizer is None:
                tokenizer, vocab_size, stop_ids = self._source
                self._tokenizer = LLTokenizer(
                    tokenizer.to_json(), n_vocab=vocab_size, eos_token=stop_ids or None
                )
            return self._tokenizer


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
            grammar = LLMatcher.grammar_from_json_schema(source.text, overrides=JSON_SPACING)
        except ValueError as error:
            raise RequestRejected(f"schema is not a JSON object: {error}") from error
    return grammar
