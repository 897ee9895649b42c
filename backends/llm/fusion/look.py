"""What a plan may learn of a prompt before it chooses the tokens to compute again.

A look is a pass over the prompt that ends as soon as it knows: of its last layer only keys and
values are computed.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Attention:
    """How much the question attends to each token: the weights of its rows, summed over heads and
    over layers from `first_layer` up to `end_layer`. All chunks are read as they are."""

    first_layer: int
    end_layer: int

    def __post_init__(self) -> None:
        assert 0 <= self.first_layer < self.end_layer, f"{self} is at no layer"

    @property
    def stop_layer(self) -> int:
        return self.end_layer - 1


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far each chunk token's keys or values are on a layer from those that were read: the sum
    of squares over heads and dimensions. Rows that were not computed are where they were."""

    layer: int
    of: Literal["k", "v"] = "k"

    def __post_init__(self) -> None:
        assert self.layer >= 0, f"{self} is at no layer"

    @property
    def stop_layer(self) -> int:
        return self.layer


@dataclass(frozen=True, slots=True)
class Contact:
    """How much each chunk token attends to the tokens of each chunk, itself and those before it:
    weights summed over heads and over layers from `first_layer` up to `end_layer`. Of a prompt that
    is computed from its first chunk on."""

    first_layer: int
    end_layer: int

    @property
    def stop_layer(self) -> int:
        return self.end_layer - 1


Look = Attention | Deviation | Contact
