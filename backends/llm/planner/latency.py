"""The latency model of a step, fitted to the steps that ran.

    seconds = fixed + per_token * tokens + per_key * keys

`keys` is the sum over all rows of the keys they attend to. Least squares in which old steps fade,
no coefficient below zero (the idea of AccelGen, arXiv 2503.13737, and of Llumnix's simulator).
"""

import math

import numpy as np
from numpy.typing import NDArray

FADE = 0.98  # weight of a step beside the one after it
SCALE = np.array((1.0, 1e2, 1e5))  # steps look like this, so that the three are of one size
PRIOR = np.array((0.02, 0.002 * 1e2, 1e-7 * 1e5))  # one step, 1 token, 1 key: a small model, CPU
TRUST = 1e-3  # of the prior, in measured steps

Vector = NDArray[np.float64]


class LatencyModel:
    """Fitted online: observing is cheap, the fit is computed on demand."""

    def __init__(self) -> None:
        self._squares = np.zeros((3, 3))
        self._products = np.zeros(3)
        self._fit: tuple[float, float, float] | None = None

    def observe(self, num_tokens: int, num_keys: int, elapsed_s: float) -> None:
        """A step ran."""
        row = np.array((1.0, num_tokens, num_keys)) / SCALE
        self._squares = FADE * self._squares + np.outer(row, row)
        self._products = FADE * self._products + elapsed_s * row
        self._fit = None

    def step_s(self, num_tokens: int, num_keys: int) -> float:
        fixed, per_token, per_key = self._coefficients()
        return fixed + per_token * num_tokens + per_key * num_keys

    def prefill_s(self, start: int, end: int) -> float:
        """To compute tokens [start, end) of a prompt beside others."""
        num_keys = (end - start) * (start + end) // 2
        return self.step_s(end - start, num_keys) - self.step_s(0, 0)

    def tokens_within(self, limit_s: float, num_keys: int, context_len: int) -> int:
        """Most tokens of a step that ends within `limit_s`. `num_keys` are read by the decodes
        in it; the other tokens are a chunk after `context_len` others. May be 0."""
        fixed, per_token, per_key = self._coefficients()
        left_s = limit_s - fixed - per_key * num_keys
        if left_s <= 0:
            return 0
        # per_key / 2 * n**2 + linear * n = left_s, solved without dividing by per_key
        linear = per_token + per_key * context_len
        root = linear + math.sqrt(linear * linear + 2 * per_key * left_s)
        return int(min(2 * left_s / root, 1e9)) if root > 0 else 10**9

    def _coefficients(self) -> tuple[float, float, float]:
        if self._fit is None:
            scaled = _fit_positive(
                self._squares + TRUST * np.eye(3), self._products + TRUST * PRIOR
            )
            fixed, per_token, per_key = (scaled / SCALE).tolist()
            self._fit = fixed, per_token, per_key
        return self._fit


def _fit_positive(squares: NDArray[np.float64], products: Vector) -> Vector:
    """Least squares from the normal equations; a coefficient that came out negative is left out."""
    used = np.arange(3)
    while True:
        found = np.linalg.solve(squares[np.ix_(used, used)], products[used])
        if (found >= 0).all():
            result: Vector = np.zeros(3)
            result[used] = found
            return result
        used = used[found > 0]
