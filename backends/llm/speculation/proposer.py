"""The interface of guess proposers."""

from collections.abc import Sequence as Items
from typing import NamedTuple, Protocol

from backends.llm.sequence.sequence import Sequence


class Ask(NamedTuple):
    """Guesses are wanted of the tokens after `sequence.ids`."""

    sequence: Sequence
    most: int  # at least 1


class Proposer(Protocol):
    """May be wrong at any time: a guess changes no output."""

    @property
    def catch_up_s(self) -> float:
        """Of the last `propose`, the time for what will not come again: reading prompts."""

    def propose(self, asks: Items[Ask]) -> list[list[int]]:
        """Guesses for each, none to `most`."""

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended."""

    def check_integrity(self) -> None:
        """Raise AssertionError when something leaks."""
