"""What sequences of the engine that jumps say, and how long it is: as `backends.emulated.core` has
it, but a token is four characters, and no grammar watches the text."""

from collections.abc import Iterable
from random import Random
from typing import Any

from backends.base import Request, Tokens, Turn
from backends.emulated import made_up
from backends.emulated.events.options import EventOptions
from backends.emulated.events.sequence import CHARS_PER_TOKEN, EventContext
from backends.emulated.traces import read_trace


def text_of(parts: Iterable[Any]) -> str:
    """Of a prompt's parts; token ids take four characters each."""
    return "".join(map(_text_of_part, parts))


def num_tokens_in(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)


class Sayings:
    """By the options of an engine."""

    def __init__(self, options: EventOptions) -> None:
        self._output_tokens = options.output_tokens
        self._trace = None if options.lengths is None else read_trace(options.lengths)

    def say(
        self, request: Request, prompt: EventContext, number: int, most: int
    ) -> tuple[str, int]:
        """The text of a sample, and its tokens, at most `most`; no text after a prompt of none."""
        attrs = request.attrs
        seed = None if attrs.get("seed") is None else attrs["seed"] + number
        numbers = made_up.seeded(prompt.text, attrs.get("temperature"), seed, number)
        in_form = made_up.text_in_form(prompt.text, attrs, numbers)
        if in_form is not None:
            return in_form, min(most, num_tokens_in(in_form) + 1)
        num_tokens = min(most, self._length(request, prompt, numbers, most))
        if not prompt.text:
            return "", num_tokens
        words = made_up.words(prompt.text, numbers, num_tokens)
        return words[: CHARS_PER_TOKEN * num_tokens], num_tokens

    def _length(self, request: Request, prompt: EventContext, numbers: Random, most: int) -> int:
        if request.attrs.get("ignore_eos"):
            return most
        if self._output_tokens is not None:
            return self._output_tokens
        if self._trace is None:
            least: int = request.attrs.get("min_tokens") or 0
            return max(numbers.randint(*made_up.LENGTHS), least)
        query = request.place.query if request.place is not None else ""
        return made_up.seeded(query, prompt.text).choice(self._trace).output_tokens


def _text_of_part(part: Any) -> str:
    if isinstance(part, Turn):
        return f"<|{part.role}|>"
    if isinstance(part, Tokens):
        return "".join(f"{token & 0xFFFF:04x}" for token in part.ids)
    return str(part)
