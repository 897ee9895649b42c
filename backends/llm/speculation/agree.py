"""Acceptance: which sampled tokens of a guessed step count."""

from collections.abc import Sequence as Items

from backends.llm.sample.sampler import Pick

Picks = tuple[Pick, ...]  # tokens in a row: guesses that came true, and the one after them


def agree(guesses: Items[int], picks: Picks) -> Picks:
    """The picks [1 + guesses] as far as each was made behind true tokens: up to and with the first
    that is not what was guessed."""
    for place, guess in enumerate(guesses):
        if picks[place].token != guess:
            return picks[: place + 1]
    return picks
