"""Counter-based random numbers for sampling: the i-th token of an output uses hash(seed, i).

So other requests of a batch, preemption, speculation and forced tokens do not change later draws.
SplitMix64 (Steele, Lea, Flood 2014): number i of a stream is a hash of its start plus i steps.
"""

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STEP = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


def stream_of(seed: int | None) -> int:
    """The start of the stream of a seed; a random one for None."""
    if seed is None:
        return secrets.randbits(64)
    start = np.array([seed & _WORD], np.uint64)
    return int(_mix(start + np.uint64(_STEP))[0])


def uniforms_at(streams: Sequence[int], places: Sequence[int]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1): for each stream the one at its position."""
    starts = np.array(streams, np.uint64)  # [R]
    steps = np.array(places, np.uint64) + np.uint64(1)  # [R]
    words = _mix(starts + steps * np.uint64(_STEP))  # [R], all modulo 2^64
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def next_uniforms(uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """New uniform numbers in [0, 1), each a hash of the given one."""
    words = _mix(uniforms.view(np.uint64) + np.uint64(_STEP))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
