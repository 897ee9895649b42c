"""A text that is told once, though it may be written twice.

An endpoint may fail in the middle of a text. Greedy and seeded requests are then written again from
the start elsewhere: what was told must come again and is passed over, what follows is told.
"""

from collections.abc import Callable, Mapping
from typing import Any

from backends.base import Result


class Retelling:
    """Of one request. `told` is what its caller has heard."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self.told = ""
        self.differs = False  # what came again is not what was told
        self._emit = emit
        self._len = 0  # of what this attempt has written
        self._num_attempts = 0

    def begin(self) -> None:
        """It is written from the start, perhaps again."""
        self._len = 0
        self._num_attempts += 1

    def tell(self, text: str) -> None:
        """The next piece of this attempt."""
        again = self.told[self._len : self._len + len(text)]
        self.differs = self.differs or not text.startswith(again)
        if self.differs:
            return
        self._len += len(text)
        new = text[len(again) :]
        if new:
            self.told += new
            self._emit(new)

    def fits(self, result: Result) -> bool:
        """Whether the whole text goes on from what was told."""
        if self._num_attempts == 1 or not self.told:
            return True
        return not self.differs and str(result.outputs[0]).startswith(self.told)


def can_be_retold(attrs: Mapping[str, Any]) -> bool:
    """Whether the same text is to be expected: nothing is drawn, or by a seed."""
    return not attrs.get("temperature") or attrs.get("seed") is not None
