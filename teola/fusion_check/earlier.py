"""The prompts that plans have met before, where their loss depends on it."""

from collections.abc import Iterator, Sequence

from backends.base import Chunk, Part


def earlier_prompts(
    plan: str, prompt: Sequence[Part], other: Sequence[Part]
) -> Iterator[list[Part]]:
    """Of `craft` one for each passage, which is behind two of another question there. Without
    them it would be measured on a prompt that it computes exactly."""
    if plan.strip().startswith("craft"):
        places = [i for i, part in enumerate(other) if isinstance(part, Chunk)]
        before, rest = other[: places[min(2, len(places)) - 1] + 1], other[places[-1] + 1 :]
        for own in dict.fromkeys(part for part in prompt if isinstance(part, Chunk)):
            yield [*before, own, *rest]
