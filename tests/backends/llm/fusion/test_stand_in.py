"""What stands before chunks while they are encoded."""

from collections.abc import Sequence
from typing import Any

from backends.llm.fusion.stand_in import MOST_TOKENS, stand_in

START = (7,)


def encode(parts: Sequence[Any]) -> list[int]:
    """A token a character, behind the one that begins every prompt."""
    return [*START, *(ord(x) for part in parts for x in str(part))]


def test_it_ends_with_a_paragraph_and_begins_no_prompt() -> None:
    found = "".join(map(chr, stand_in(encode, START, 40)))
    assert len(found) == 40
    assert found.endswith("library of the university.\n\n")


def test_it_begins_from_its_end_again_where_it_is_too_short() -> None:
    found = stand_in(encode, START, 8 * MOST_TOKENS)
    text = "".join(map(chr, found))
    assert len(found) == 8 * MOST_TOKENS
    assert START[0] not in found
    assert "university.\n\nThe harbour of Vellamo" in text
