"""Frequencies of rotary position embedding, and its angles as a table, in float32."""

import math

import numpy as np
from numpy.typing import NDArray

from backends.llm.model.config import ModelConfig, RopeScaling

Angles = NDArray[np.float32]


def frequencies(config: ModelConfig, factors: Angles | None = None) -> Angles:
    """Radians a position for each pair of dimensions, [D / 2]. `factors` [D / 2], from a GGUF file,
    divide them and stand for llama3 scaling."""
    found = base_frequencies(config.head_dim, config.rope_theta)  # [D / 2]
    if factors is not None:
        found = found / factors
    return found if config.rope_scaling is None else _scaled(found, config.rope_scaling)


def base_frequencies(head_dim: int, theta: float) -> Angles:
    steps = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)  # [D / 2]
    return np.float32(1) / np.float32(theta) ** steps


def angle_table(frequencies: Angles, num_positions: int) -> tuple[Angles, Angles]:
    """Cosines and sines [P, D / 2] of positions 0 to P - 1."""
    angles = np.arange(num_positions, dtype=np.float32)[:, None] * frequencies  # [P, D / 2]
    return np.cos(angles), np.sin(angles)


def _scaled(frequencies: Angles, scaling: RopeScaling) -> Angles:
    if scaling.kind == "linear":
        return frequencies / np.float32(scaling.factor)
    # llama3: long waves are stretched, short ones kept, and those between blended.
    low = np.float32(scaling.original_max_positions / scaling.low_freq_factor)
    high = np.float32(scaling.original_max_positions / scaling.high_freq_factor)
    waves = np.float32(2 * math.pi) / frequencies  # [D / 2]
    blend = (scaling.original_max_positions / waves - np.float32(scaling.low_freq_factor)) / (
        np.float32(scaling.high_freq_factor - scaling.low_freq_factor)
    )
    stretched = frequencies / np.float32(scaling.factor)
    between = (1 - blend) * stretched + blend * frequencies
    found = np.where(waves > low, stretched, frequencies)
    return np.where((waves <= low) & (waves >= high), between, found).astype(np.float32)
