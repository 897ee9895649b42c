"""What readers found of the heads that were computed ahead: whether a server's cache keeps them.

A cache may be switched off, keep larger pages than a head has, or lie behind another endpoint. Then
a warm-up is work for nothing.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from backends.base import Usage

WEIGHT = 0.5  # of the newest observation: two misses in a row are enough to stop
ENOUGH = 0.5  # of a head must be found
TRY_EACH = 16  # of so many warm-ups that would not pay one is tried


@dataclass(frozen=True, slots=True)
class Made:
    """A context whose head the server should hold."""

    key: Hashable | None  # of the head, where others may have the same
    is_fresh: bool  # it was computed for this context


class WarmHits:
    """Follows the contexts of heads to what reads them."""

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[Any, Made] = WeakKeyDictionary()
        self._found = 1.0  # share of the tokens, lately
        self._num_declined = 0

    def note(self, context: Any, made: Made) -> None:
        """A head is in this context."""
        try:
            self._made[context] = made
        except TypeError:  # a context that cannot be referred to weakly
            return

    def of(self, context: Any) -> Made | None:
        """What is known of a context, or of anything else that a request begins with."""
        try:
            return self._made.get(context) if self._made else None
        except TypeError:
            return None

    def read(self, made: Made, num_tokens: int, usage: Usage) -> bool:
        """Learn from a request behind a context of so many tokens; whether it was found."""
        share = min(1.0, usage.cached_tokens / max(1, num_tokens))
        if made.is_fresh:
            self._found += WEIGHT * (share - self._found)
        return share >= ENOUGH

    def pay(self) -> bool:
        """Whether warm-ups do; asked once for each that might."""
        if self._found >= ENOUGH:
            return True
        self._num_declined += 1
        return self._num_declined % TRY_EACH == 0
