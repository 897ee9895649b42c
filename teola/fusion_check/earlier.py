"""What plans find in the engine, where their loss depends on it."""

from collections.abc import Iterator, Sequence

from backends.base import Chunk, Part
from backends.llm.fusion.named_plans import plan_from
from backends.llm.fusion.plans import Encoding, FromRequests, encoding_of


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


def how_encoded(plan: str) -> Encoding | None:
    """Plans of which this is equal read the same KV; None: that of earlier prompts."""
    parsed = plan_from(plan)
    return None if isinstance(parsed, FromRequests) else encoding_of(parsed)
