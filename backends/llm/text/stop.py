"""Stop strings: text is released only when none can still begin in it, and cut at the first."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from backends.llm.text.tokenizer import Tokenizer


class StopScanner:
    """Feed text in pieces; get back what is safe to show. Sets `found` at a stop string.

    A piece costs the same for one stop string as for the most that a request may have."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = _stop_strings(tuple(stops)) if stops else None
        self._held = ""
        self.found: str | None = None  # the stop string that ended the text

    @property
    def is_stopped(self) -> bool:
        return self.found is not None

    def push(self, piece: str) -> str:
        """The text that may be shown now; nothing more once stopped."""
        if self._stops is None:
            return piece
        if self.is_stopped:
            return ""
        text = self._held + piece
        found = self._stops.pattern.search(text)
        if found is not None:
            self.found, self._held = found[0], ""
            return text[: found.start()]
        shown = len(text) - self._stops.overlap(text)
        self._held = text[shown:]
        return text[:shown]

    def flush(self) -> str:
        """What was held back for a stop string that never came."""
        held, self._held = self._held, ""
        return held


class _StopStrings:
    """Immutable: all samples of a request share one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._ordered = sorted(set(stops))  # a shorter one comes before those it begins
        self._longest = max(map(len, stops))
        self.pattern = re.compile("|".join(map(re.escape, self._ordered)))

    def overlap(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string may begin."""
        for size in range(min(len(text), self._longest - 1), 0, -1):
            end = text[-size:]
            at = bisect_left(self._ordered, end)
            if at < len(self._ordered) and self._ordered[at].startswith(end):
                return size
        return 0


@lru_cache(maxsize=64)
def _stop_strings(stops: tuple[str, ...]) -> _StopStrings:
    return _StopStrings(stops)


@dataclass(frozen=True, slots=True)
class Cut:
    """The first `num_same` generated tokens, then the ids of what a token split by the cut left."""

    num_same: int
    rest: list[int]


def cut_at_text(ids: list[int], text: str, tokenizer: Tokenizer) -> Cut:
    """Tokens for exactly `text`, a prefix of the decoding of `ids`, so that a context holds what
    its caller was given."""
    for num_same in range(len(ids), 0, -1):
        decoded = tokenizer.decode(ids[:num_same])
        if text.startswith(decoded):
            return Cut(num_same, tokenizer.encode_text(text[len(decoded) :]))
    return Cut(0, tokenizer.encode_text(text))
