"""Which chunks a fake model has read behind which prefix, and what a fused prefill computes."""

import re
from collections.abc import Sequence

from backends.base import Chunk, FusionReport, Usage


class ChunkCache:
    """Of one engine; tokens are words. Nothing is ever dropped."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()  # prefix and chunk

    def encode(self, prefix: str, chunks: Sequence[str]) -> tuple[int, int]:
        """Read chunks behind a prefix: how many were new, and their words."""
        new = [chunk for chunk in dict.fromkeys(chunks) if (prefix, chunk) not in self._known]
        self._known.update((prefix, chunk) for chunk in new)
        return len(new), sum(map(_num_words, new))

    def prefill(
        self, before: str, texts: Sequence[str], plan: str
    ) -> tuple[Usage, FusionReport | None]:
        """What a fused prefill of the texts behind a context costs; some of them are Chunks."""
        chunks = [text for text in texts if isinstance(text, Chunk)]
        fresh = sum(_num_words(text) for text in texts if not isinstance(text, Chunk))
        if not chunks:
            return Usage(prefill_tokens=fresh), None
        first = next(i for i, text in enumerate(texts) if isinstance(text, Chunk))
        num_new, num_encoded = self.encode(before + "".join(texts[:first]), chunks)
        again = sum(_computed_again(plan, _num_words(chunk)) for chunk in chunks[1:])
        read = sum(map(_num_words, chunks[1:])) - again
        num_tokens = _num_words(before) + sum(map(_num_words, texts))
        report = FusionReport(plan, len(chunks), num_new, num_tokens, (fresh + again,), 0.0)
        return Usage(prefill_tokens=fresh + again + num_encoded, fused_tokens=read), report


def _num_words(text: str) -> int:
    return len(text.split())


def _computed_again(plan: str, num_words: int) -> int:
    """`lego(4)`: so many words; `query(0.15)`: such a share."""
    number = re.search(r"\(([\d.]+)\)", plan)
    if number is None:
        return 0
    amount = float(number[1])
    return min(num_words, round(amount if amount > 1 else amount * num_words))
