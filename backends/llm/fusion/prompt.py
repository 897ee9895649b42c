"""The ids of a prompt with encoded chunks in it, and what it links to."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from itertools import groupby

from backends.base import Part
from backends.llm.fusion.link import Encoded, Link, link_of
from backends.llm.requests.open_turn import Open

Encode = Callable[[Items[Part], list[int], Open], tuple[list[int], Open]]


def encode_fused(
    encode: Encode, parts: Items[Part | Encoded], ids: list[int], turn: Open
) -> tuple[list[int], Open, list[Link]]:
    """All ids, the turn that is then open, and the links; `encode` continues a prompt."""
    found: list[tuple[Encoded, int]] = []
    for _, run in groupby(parts, key=lambda part: isinstance(part, Encoded)):
        plain: list[Part] = []
        for part in run:
            if isinstance(part, Encoded):
                found.append((part, len(ids)))
                ids = [*ids, *part.ids]
            else:
                plain.append(part)
        if plain:
            ids, turn = encode(plain, ids, turn)
    links = [link_of(part, at, len(ids)) for part, at in found]
    return ids, turn, [link for link in links if link.num_tokens > 0]
