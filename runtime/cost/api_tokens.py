"""What a request will cost an API in requests and tokens, from its real inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.base import Context, Request, Result, Tokens, Turn
from backends.documents import Doc
from runtime.cost.sizes import DECODE_TOKENS, TURN_TOKENS, num_tokens

WEIGHT = 0.2  # of the newest observation
MOST_OFF = 8.0  # how far the size of a prompt may be estimated wrong


@dataclass(frozen=True, slots=True)
class Expected:
    """The size of one request before it runs. `written` is None where nothing bounds it."""

    prompt: float
    written: float | None
    num_samples: int = 1


def prompt_only(request: Request) -> Expected | None:
    """Of a request that reads its inputs and writes no text."""
    return Expected(tokens_of(request.inputs), 0.0)


def text_tokens(request: Request) -> Expected | None:
    """Of a request that reads its inputs and writes a text, or n of them."""
    most, n = request.attrs.get("max_tokens"), request.attrs.get("n")
    written = float(most) if isinstance(most, int | float) else None
    return Expected(tokens_of(request.inputs), written, n if isinstance(n, int) and n > 0 else 1)


def actual_tokens(result: Result) -> int:
    """What the engine counted; 0 where it does not."""
    usage = result.usage
    return usage.prefill_tokens + usage.cached_tokens + usage.decode_tokens


class TokenEstimate:
    """Corrects the expected sizes by what usage said of earlier requests."""

    def __init__(self) -> None:
        self._prompt_ratio = 1.0  # real tokens of a prompt over expected ones
        self._written = DECODE_TOKENS  # of a text without a bound

    def tokens(self, expected: Expected) -> int:
        """What the request may take: a bounded text counts in full."""
        written = self._written if expected.written is None else expected.written
        return round(self.prompt(expected) + expected.num_samples * written)

    def prompt(self, expected: Expected) -> float:
        return expected.prompt * self._prompt_ratio

    def observe(self, expected: Expected, result: Result) -> None:
        """Learn from a finished request."""
        usage = result.usage
        prompt = usage.prefill_tokens + usage.cached_tokens
        if prompt and expected.prompt:
            ratio = max(1 / MOST_OFF, min(MOST_OFF, prompt / expected.prompt))
            self._prompt_ratio += WEIGHT * (ratio - self._prompt_ratio)
        if usage.decode_tokens and expected.written is None:
            written = usage.decode_tokens / expected.num_samples
            self._written += WEIGHT * (written - self._written)


def tokens_of(value: Any) -> float:
    """An estimate for a real value, and for all that is in it."""
    match value:
        case str():
            return num_tokens(value)
        case Doc():
            return num_tokens(value.text)
        case Turn():
            return TURN_TOKENS
        case Tokens():
            return float(len(value.ids))
        case Context():
            return float(value.num_tokens)
        case Mapping():
            return sum(map(tokens_of, value.values()))
        case Sequence():
            return sum(map(tokens_of, value))
    return 0.0
