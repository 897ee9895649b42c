"""The pieces of a prompt: its own words, values of the run, and real texts put into it.

In an `async def` app texts are real, and a prompt is one text. It is cut at the string constants of
the prompt function's code, each where it first comes, in their order. What lies between them was
put in: it becomes an input of the segment, so that prompts of other words have the same graph. A
text that goes on like another one is cut at the same places, so that both begin with the same
tokens.
"""

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from frontend_dsl.value import Value, split_marks

MIN_LETTERS = 2  # a constant of fewer, as a line break, stands in real texts too


def constants_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The string constants in a function's code, in their order there."""
    code = getattr(function, "__code__", None)
    return tuple(_constants(code)) if isinstance(code, CodeType) else ()


def pieces(
    text: str, constants: tuple[str, ...], given: Callable[[str], Value | None]
) -> Iterator[str | Value]:
    """Words of the prompt and values, in order; `given` may make a real text a value."""
    for piece in split_marks(text):
        if isinstance(piece, Value):
            yield piece
            continue
        cut = list(cut_text(piece, constants))
        values = [None if is_own else given(part) for part, is_own in cut]
        if all(value is None for value in values):  # a graph without such inputs: not cut at all
            yield piece
            continue
        for (part, _), value in zip(cut, values, strict=True):
            yield part if value is None else value


def cut_text(text: str, constants: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """The parts of a text, and whether each is one of the constants."""
    start = 0
    for constant in constants:
        at = text.find(constant, start)
        if at < 0:
            continue
        if at > start:
            yield text[start:at], False
        yield constant, True
        start = at + len(constant)
    if start < len(text):
        yield text[start:], False


def _constants(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _constants(constant)
        elif isinstance(constant, str) and len(constant.strip()) >= MIN_LETTERS:
            yield constant
