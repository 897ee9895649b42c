"""Prompt lookup: what followed the last time that the text read like this (Saxena 2023; LLMA, arXiv
2304.04487). Costs no model and pays where outputs copy from prompts or repeat themselves."""

from collections.abc import Sequence as Items

from backends.llm.sequence.sequence import Sequence
from backends.llm.speculation.proposer import Ask

GRAM = 3  # tokens that must be the same: fewer guess too often and too badly
LONGEST = 12  # longer matches are all the same
LOOKS = 16  # places tried


class SuffixIndex:
    """Of one text; `find` must be given the same text each time, perhaps with more at its end."""

    def __init__(self) -> None:
        self._latest: dict[tuple[int, ...], int] = {}  # gram -> the place behind it
        self._earlier: list[int] = [0] * GRAM  # place -> the one before of the same gram; 0: none

    def find(self, ids: Items[int]) -> int | None:
        """The place behind the longest earlier match of the text's end, the latest of equals."""
        self._add(ids)
        best, best_len = None, 0
        place = self._latest.get(tuple(ids[-GRAM:]), 0)
        for _ in range(LOOKS):
            if not place:
                break
            match_len = _num_same(ids, place)
            if match_len > best_len:
                best, best_len = place, match_len
            if best_len == LONGEST:
                break
            place = self._earlier[place]
        return best

    def _add(self, ids: Items[int]) -> None:
        """All grams but the last, which would find itself."""
        for place in range(len(self._earlier), len(ids)):
            gram = tuple(ids[place - GRAM : place])
            self._earlier.append(self._latest.get(gram, 0))
            self._latest[gram] = place


def _num_same(ids: Items[int], place: int) -> int:
    """How many tokens before `place` are those at the end."""
    most = min(LONGEST, place)
    for size in range(GRAM, most):
        if ids[place - 1 - size] != ids[-1 - size]:
            return size
    return most


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
