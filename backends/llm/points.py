"""Random numbers by place: the point of an output's i-th token depends on its seed and i alone.

So no batch mate, preemption, speculation or forced token shifts what is drawn later. SplitMix64
(Steele, Lea, Flood 2014): number i of a stream is a hash of its start plus i steps.
"""

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STEP = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


def stream_of(seed: int | None) -> int:
    """Where the stream of a seed starts; a fresh one for None."""
    if seed is None:
        return secrets.randbits(64)
    start = np.array([seed & _WORD], np.uint64)
    return int(_mix(start + np.uint64(_STEP))[0])


def points_at(streams: Sequence[int], places: Sequence[int]) -> NDArray[np.float64]:
    """Numbers in [0, 1), one for each stream at its place."""
    starts = np.array(streams, np.uint64)  # [R]
    steps = np.array(places, np.uint64) + np.uint64(1)  # [R]
    words = _mix(starts + steps * np.uint64(_STEP))  # [R], all modulo 2^64
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def again(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Other numbers in [0, 1), each from the number before."""
    words = _mix(points.view(np.uint64) + np.uint64(_STEP))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
