"""How far keys and values are from others."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Turn(NamedTuple):
    """What a rotary embedding does to keys that move by some places."""

    cos: Floats  # [D / 2]
    sin: Floats

    @classmethod
    def by(cls, distance: int, frequencies: Floats) -> Self:
        angles = distance * frequencies.astype(np.float64)
        return cls(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))

    def of(self, keys: Floats) -> Floats:
        """[T, K, D] of the same."""
        low, high = np.split(keys, 2, axis=-1)
        turned = low * self.cos - high * self.sin, high * self.cos + low * self.sin
        return np.concatenate(turned, axis=-1)


def squared_distances(a: Floats, b: Floats) -> Floats:
    """[T] of [T, K, D] each: summed over heads and dimensions."""
    found: Floats = np.square(a - b).sum((1, 2))
    return found
