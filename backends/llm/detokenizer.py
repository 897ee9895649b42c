"""Text of a growing list of token ids, in whole characters."""

from backends.llm.tokenizer import Tokenizer

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # decoders write it for bytes that are not yet a character


class Detokenizer:
    """All pieces, and the last one from `flush`, join to the decoding of all ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._shown: list[int] = []  # ids of the last piece: decoders look back at a space
        self._pending: list[int] = []

    def push(self, token_id: int) -> str:
        """The text the token completes; "" in the middle of a character."""
        self._pending.append(token_id)
        text = self._pending_text()
        if not text or text.endswith(_BROKEN):
            return ""
        self._shown, self._pending = self._pending, []
        return text

    def flush(self) -> str:
        """What is left at the end, broken bytes as U+FFFD."""
        text = self._pending_text()
        self._shown, self._pending = self._pending, []
        return text

    def _pending_text(self) -> str:
        before = self._tokenizer.decode(self._shown)
        return self._tokenizer.decode(self._shown + self._pending)[len(before) :]
