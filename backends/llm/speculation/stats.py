"""Statistics of speculation."""

from dataclasses import dataclass


@dataclass(slots=True)
class SpeculationStats:
    """Counters from the engine's start, and one gauge."""

    guessed_tokens: int = 0
    accepted_tokens: int = 0
    guessed_steps: int = 0  # with a guess or more
    decode_steps: int = 0  # of decodes alone
    is_on: int = 0  # 1: guesses pay at the moment
