"""The prompts that plans have met before, where their loss depends on it."""

from collections.abc import Iterator, Sequence

from backends.base import Chunk, Part


def earlier_prompts(
    plan: str, prompt: Sequence[Part], other: Sequence[Part]
) -> Iterator[list[Part]]:
    """Of a plan with `+corpus(n)` the prompt of another question, whose passages come first; of
    `craft` one for each passage of `prompt`, which is behind two passages of the other. Without
    them either would be measured on a prompt that it computes exactly, or nearly so."""
    name, *modifiers = (part.strip().partition("(")[0] for part in plan.split("+"))
    if "corpus" in modifiers:
        yield list(other)
    if name == "craft":
        places = [i for i, part in enumerate(other) if isinstance(part, Chunk)]
        before, rest = other[: places[min(2, len(places)) - 1] + 1], other[places[-1] + 1 :]
        for own in dict.fromkeys(part for part in prompt if isinstance(part, Chunk)):
            yield [*before, own, *rest]
