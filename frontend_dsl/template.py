"""The pieces of a prompt: its own words, values of the run, and real texts put into it.

In an `async def` app texts are real, and a prompt is one text. It is cut at the string constants of
the prompt function's code, each where it first comes, in their order. What lies between them was
put in: it becomes an input of the segment, so that prompts of other words have the same graph. A
text that goes on like another one is cut at the same places, so that both begin with the same
tokens.
"""

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Protocol, TypeGuard

from frontend_dsl.marked_texts import split_marks
from frontend_dsl.value import Value

MIN_LETTERS = 2  # a constant of fewer, as a line break, stands in real texts too


def constants_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The string constants in a function's code, in their order there."""
    code = getattr(function, "__code__", None)
    return tuple(_constants(code)) if isinstance(code, CodeType) else ()


class TString(Protocol):
    """What a t-string is (`string.templatelib.Template`, from Python 3.14 on)."""

    @property
    def strings(self) -> tuple[str, ...]: ...
    @property
    def interpolations(self) -> tuple[Any, ...]: ...


def is_t_string(value: object) -> TypeGuard[TString]:
    """Whether this is a t-string, whose values stand in it without markers."""
    return hasattr(type(value), "strings") and hasattr(type(value), "interpolations")


def parts_of(template: TString) -> Iterator[tuple[Any, bool]]:
    """The words of a t-string and what was put between them, and whether it is words."""
    for i, words in enumerate(template.strings):
        if words:
            yield words, True
        if i < len(template.interpolations):
            yield from _put_in(template.interpolations[i])


def rendered(template: TString) -> str:
    """The text of a t-string, with the markers of its values."""
    return "".join(f"{part}" for part, _ in parts_of(template))


def _put_in(hole: Any) -> Iterator[tuple[Any, bool]]:
    value, conversion, spec = hole.value, hole.conversion, hole.format_spec
    if is_t_string(value) and not conversion and not spec:
        yield from parts_of(value)
    elif isinstance(value, Value) and not conversion:
        format(value, spec)  # raises SymbolicError for a spec
        yield value, False
    else:
        yield format(_CONVERSIONS[conversion](value), spec), False


_CONVERSIONS: dict[str | None, Callable[[Any], Any]] = {
    None: lambda value: value,
    "r": repr,
    "s": str,
    "a": ascii,
}


def pieces(
    text: str | TString, constants: tuple[str, ...], given: Callable[[str], Value | None]
) -> Iterator[str | Value]:
    """Words of the prompt and values, in order; `given` may make a real text a value."""
    if not isinstance(text, str):
        yield from _pieces_of_t_string(text, given)
        return
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


def _pieces_of_t_string(
    template: TString, given: Callable[[str], Value | None]
) -> Iterator[str | Value]:
    for part, is_words in parts_of(template):
        for piece in [part] if isinstance(part, Value) else split_marks(part):
            value = None if is_words or isinstance(piece, Value) else given(piece)
            yield piece if value is None else value


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
