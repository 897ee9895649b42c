"""Rotary position embedding, half rotation, angles and rotation in float32."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backends.llm.model.config import ModelConfig, RopeScaling

Angles = NDArray[np.float32]


class Rope:
    """`factors` [D / 2], from a GGUF file, divide the frequencies and stand for llama3 scaling."""

    def __init__(
        self, config: ModelConfig, device: torch.device, factors: Tensor | None = None
    ) -> None:
        frequencies = base_frequencies(config.head_dim, config.rope_theta)  # [D / 2]
        if factors is not None:
            frequencies = frequencies / factors.cpu()
        if config.rope_scaling is not None:
            frequencies = _scaled(frequencies, config.rope_scaling)
        self._frequencies = frequencies.to(device)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, 1, D] of positions [T]."""
        cos, sin = (torch.cat((x, x), dim=-1)[:, None] for x in self.half_angles(positions))
        return cos, sin

    def half_angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, D / 2]: those of the other half are the same."""
        angles = positions.float()[:, None] * self._frequencies  # [T, D / 2]
        return angles.cos(), angles.sin()

    def table(self, num_positions: int) -> tuple[Angles, Angles]:
        """Cosines and sines [P, D / 2] of positions 0 to P - 1."""
        angles = torch.arange(num_positions).float()[:, None] * self._frequencies.cpu()  # [P, D/2]
        return angles.cos().numpy(), angles.sin().numpy()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [T, H, D] turned by its position; same dtype."""
    low, high = x.chunk(2, dim=-1)  # [T, H, D / 2] each
    return (x * cos + torch.cat((-high, low), dim=-1) * sin).to(x.dtype)


def base_frequencies(head_dim: int, theta: float) -> Tensor:
    """Radians a position for each pair of dimensions, [D / 2]."""
    steps = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim  # [D / 2]
    return 1.0 / theta**steps


def _scaled(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    # llama3: long waves are stretched, short ones kept, and those between blended.
    low = scaling.original_max_positions / scaling.low_freq_factor
    high = scaling.original_max_positions / scaling.high_freq_factor
    waves = 2 * math.pi / frequencies  # [D / 2]
    blend = (scaling.original_max_positions / waves - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    between = (1 - blend) * frequencies / scaling.factor + blend * frequencies
    stretched = torch.where(waves > low, frequencies / scaling.factor, frequencies)
    return torch.where((waves <= low) & (waves >= high), between, stretched)
