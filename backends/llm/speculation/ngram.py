"""Prompt lookup: what followed the last time that the text read like this (Saxena 2023; LLMA, arXiv
2304.04487). Costs no model and pays where outputs copy from prompts or repeat themselves."""

from collections.abc import Sequence as Items

from backends.llm.sequence.sequence import Sequence
from backends.llm.speculation.proposer import Ask
from backends.llm.speculation.suffix_index import SuffixIndex


class NgramProposer:
    """Looks only at a sequence's own prompt and output: what others wrote is theirs."""

    catch_up_s = 0.0

    def __init__(self) -> None:
        self._indexes: dict[Sequence, SuffixIndex] = {}

    def propose(self, asks: Items[Ask]) -> list[list[int]]:
        """Guesses for each, none to `most`."""
        return [self._continue(sequence, most) for sequence, most in asks]

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended."""
        self._indexes.pop(sequence, None)

    def check_integrity(self) -> None:
        """Nothing is held but the indexes of live sequences."""

    def _continue(self, sequence: Sequence, most: int) -> list[int]:
        ids = sequence.ids
        place = self._indexes.setdefault(sequence, SuffixIndex()).find(ids)
        if place is None:
            return []
        guesses = ids[place : place + most]
        period = len(ids) - place
        while len(guesses) < most:  # a match that runs into the end goes round
            guesses.append(guesses[-period])
        return guesses
