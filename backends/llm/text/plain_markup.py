"""Markup that a chat template writes as plain text, since the vocabulary has no tokens for it.

    Mistral 7B 0.1   [INST] hello [/INST]        Llama 2   <<SYS>> ... <</SYS>>

In a user's text such a marker is spelled character by character. So the tokens of the markup are
never made from text; that a model reads the characters in the same way is not excluded.
"""

import re
from collections.abc import Iterable, Sequence

from backends.errors import RequestRejected
from backends.llm.text.tokenizer import Tokenizer

_MARKER = re.compile(
    r"\[/?[A-Z][A-Z_]+\]|<<?/?[A-Za-z_]+>>?|<\|[^|<>\s]{1,40}\|>|###\s?[A-Z][a-z]+:"
)


class PlainMarkup:
    """Encodes texts for one tokenizer and the markup of one template."""

    def __init__(self, tokenizer: Tokenizer, markup: Iterable[str]) -> None:
        found = {marker for text in markup for marker in _MARKER.findall(text)}
        self._tokenizer = tokenizer
        self.markers = tuple(sorted(filter(self._is_plain, found)))
        self._pattern = re.compile("|".join(map(re.escape, self.markers)))

    def encode_text(self, text: str) -> list[int]:
        """As the tokenizer's, with the markers in it spelled. Raises RequestRejected where that
        changes nothing."""
        if not self.markers:
            return self._tokenizer.encode_text(text)
        ranges = [match.span() for match in self._pattern.finditer(text)]
        ids = self._tokenizer.encode_text(text, ranges)
        if ranges:
            self._check(ids, {text[first:last] for first, last in ranges})
        return ids

    def _is_plain(self, marker: str) -> bool:
        return self._tokenizer.markup_ids.isdisjoint(self._tokenizer.encode_markup(marker))

    def _check(self, ids: Sequence[int], written: Iterable[str]) -> None:
        for marker in written:
            if _holds(ids, self._tokenizer.encode_markup(marker)):
                raise RequestRejected(
                    f"a text holds {marker!r}, which this model's chat template writes as plain "
                    "text: write it in another way"
                )


def _holds(ids: Sequence[int], part: Sequence[int]) -> bool:
    size = len(part)
    return any(list(ids[i : i + size]) == list(part) for i in range(len(ids) - size + 1))
