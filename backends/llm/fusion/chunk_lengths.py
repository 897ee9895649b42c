"""How many tokens chunks have, as far as they were met before."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence as Items
from typing import Protocol

from backends.base import Part
from backends.errors import EngineError

_KNOWN = 1 << 14
_LIGHT_CHARS = 4096  # tokenised in less time than a thread takes to wake


class Encoder(Protocol):
    """A core."""

    @property
    def max_context_tokens(self) -> int: ...

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What a text has before it that begins a prompt, and no chunk has."""

    def encode(self, parts: Items[Part]) -> list[int]:
        """Token ids of a prompt. Any thread may call."""


class ChunkLengths:
    """Of one engine."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._known: OrderedDict[str, int] = OrderedDict()  # least recently met first

    def note(self, text: str, num_tokens: int) -> None:
        self._known[text] = num_tokens
        self._known.move_to_end(text)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def padding(self, start: int, text: str) -> int:
        """So many tokens that all pages of a chunk at this place are full; at least one, which has
        no KV."""
        known = self._known.get(text)
        if known is None:
            return self._page_size
        return self._page_size - (start + known - 1) % self._page_size

    async def fit(self, texts: Items[str], encoder: Encoder) -> bool:
        """Whether a prompt of these chunks may fit. New ones are tokenised for it."""
        lengths = {text: self._known.get(text) for text in texts}
        new = [text for text, length in lengths.items() if length is None]
        try:
            if sum(map(len, new)) > _LIGHT_CHARS:
                counts = await asyncio.to_thread(_count, new, encoder)
            else:
                counts = _count(new, encoder)
        except EngineError:
            return False
        for text, num_tokens in zip(new, counts, strict=False):
            lengths[text] = num_tokens
            self.note(text, num_tokens)
        return sum(lengths[text] or 0 for text in texts) <= encoder.max_context_tokens


def _count(texts: Items[str], encoder: Encoder) -> list[int]:
    """Tokens of each; only of the first ones, if they are too many already."""
    counts: list[int] = []
    for text in texts:
        counts.append(len(encoder.encode([text])) - (len(encoder.start_ids) if text else 0))
        if sum(counts) > encoder.max_context_tokens:
            break
    return counts
