"""Pieces of a prompt. A chunk's KV is reused wherever it stands, if the request asks for `fusion`;
else a chunk is its text."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Annotated, Literal

from pydantic import Field

from backends.base import Chunk, Part, Tokens
from backends.request_limits import MAX_NAME_CHARS
from teola.serving.fields import Fields, TokenId

Fusion = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]  # a plan's text


class TextPart(Fields):
    """A text, or a text that recurs in other prompts; models here read text only."""

    type: Literal["text", "chunk"]
    text: str

    @property
    def part(self) -> Part:
        return Chunk(self.text) if self.type == "chunk" else self.text


class TokensPart(Fields):
    """Token ids, taken as they are."""

    type: Literal["tokens"]
    tokens: list[TokenId]

    @property
    def part(self) -> Part:
        return Tokens(tuple(self.tokens))


PromptPart = Annotated[TextPart | TokensPart, Field(discriminator="type")]


def parts_of(prompt: str | Sequence[int | TextPart | TokensPart]) -> list[Part]:
    """A prompt without turns: a text, token ids or pieces."""
    if isinstance(prompt, str):
        return [prompt]
    ids = tuple(token for token in prompt if isinstance(token, int))
    pieces = joined(piece for piece in prompt if not isinstance(piece, int))
    return [Tokens(ids)] if ids else pieces


def joined(pieces: Iterable[TextPart | TokensPart]) -> list[Part]:
    """Plain texts that stand side by side are one part: their tokens depend on it."""
    found: list[Part] = []
    parts = (piece.part for piece in pieces)
    for is_text, run in groupby(parts, key=lambda part: type(part) is str):
        side_by_side = list(run)
        found += ["".join(map(str, side_by_side))] if is_text else side_by_side
    return found
