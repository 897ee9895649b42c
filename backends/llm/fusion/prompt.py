"""The ids of a prompt with encoded chunks in it, and where they stand."""

from collections.abc import Callable
from collections.abc import Sequence as Items
from itertools import groupby

from backends.base import Part
from backends.llm.fusion.link import Encoded, Placed
from backends.llm.requests.open_turn import Open

Encode = Callable[[Items[Part], list[int], Open], tuple[list[int], Open]]


def encode_fused(
    encode: Encode, parts: Items[Part | Encoded], ids: list[int], turn: Open
) -> tuple[list[int], Open, list[Placed]]:
    """All ids, the turn that is then open, and the encoded parts; `encode` continues a prompt."""
    placed: list[Placed] = []
    for _, run in groupby(parts, key=lambda part: isinstance(part, Encoded)):
        plain: list[Part] = []
        for part in run:
            if isinstance(part, Encoded):
                placed.append(Placed(part, len(ids)))
                ids = [*ids, *part.ids]
            else:
                plain.append(part)
        if plain:
            ids, turn = encode(plain, ids, turn)
    return ids, turn, placed
