"""Text of a growing list of token ids, in whole characters. A piece costs the same however long
the text is."""

import codecs
from typing import Protocol

from backends.llm.text.tokenizer import Tokenizer

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # decoders write it for bytes that are not yet a character
_utf8 = codecs.getincrementaldecoder("utf-8")


class Detokenizer(Protocol):
    """All pieces, and the last one from `flush`, join to the decoding of all ids."""

    def push(self, token_id: int) -> str:
        """The text the token completes; "" in the middle of a character."""

    def flush(self) -> str:
        """What is left at the end, broken bytes as U+FFFD."""


def detokenizer_of(tokenizer: Tokenizer) -> Detokenizer:
    """A new one; the fast kind where tokens are nothing but their bytes."""
    return ByBytes(tokenizer) if tokenizer.bytes_of.is_exact else ByLookback(tokenizer)


class ByBytes:
    """For tokenizers whose text is the bytes of the tokens, end to end."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes_of = tokenizer.bytes_of
        self._decoder = _utf8("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._bytes_of(token_id))

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


class ByLookback:
    """For all others: the tokenizer decodes the last piece again, with the tokens after it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._shown: list[int] = []  # ids of the last piece: decoders look back at a space
        self._pending: list[int] = []

    def push(self, token_id: int) -> str:
        self._pending.append(token_id)
        text = self._pending_text()
        if not text or text.endswith(_BROKEN):
            return ""
        self._shown, self._pending = self._pending, []
        return text

    def flush(self) -> str:
        text = self._pending_text()
        self._shown, self._pending = self._pending, []
        return text

    def _pending_text(self) -> str:
        before = self._tokenizer.decode(self._shown)
        return self._tokenizer.decode(self._shown + self._pending)[len(before) :]
