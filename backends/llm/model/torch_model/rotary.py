"""Rotary position embedding in torch: half rotation, angles and rotation in float32."""

import torch
from torch import Tensor

from backends.llm.model.config import ModelConfig
from backends.llm.model.rope import frequencies


class Rope:
    """`factors` [D / 2], from a GGUF file, divide the frequencies and stand for llama3 scaling."""

    def __init__(
        self, config: ModelConfig, device: torch.device, factors: Tensor | None = None
    ) -> None:
        given = None if factors is None else factors.float().cpu().numpy()
        self.frequencies = frequencies(config, given)  # [D / 2]
        self._frequencies = torch.from_numpy(self.frequencies).to(device)

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, 1, D] of positions [T]."""
        cos, sin = (torch.cat((x, x), dim=-1)[:, None] for x in self.half_angles(positions))
        return cos, sin

    def turns(self, old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, 1, D] that turn keys of positions `old` [T] to `new` [T]: forward
        by the new angle and back by the old one, each as it was rounded."""
        (cos_0, sin_0), (cos_1, sin_1) = self.angles(old), self.angles(new)
        return cos_1 * cos_0 + sin_1 * sin_0, sin_1 * cos_0 - cos_1 * sin_0

    def half_angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, D / 2]: those of the other half are the same."""
        angles = positions.float()[:, None] * self._frequencies  # [T, D / 2]
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [T, H, D] turned by its position; same dtype."""
    low, high = x.chunk(2, dim=-1)  # [T, H, D / 2] each
    return (x * cos + torch.cat((-high, low), dim=-1) * sin).to(x.dtype)
