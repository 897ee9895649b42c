"""The latency model of a step, fitted to the steps that ran.

    seconds = fixed + per_token * tokens + per_key * keys + sum of beyond_k * max(0, tokens - k)

`keys` is the sum over all rows of the keys they attend to. Least squares in which old steps fade,
no coefficient below zero (the idea of AccelGen, arXiv 2503.13737, and of Llumnix's simulator).

The last term is the knee of a roofline: on a GPU a step takes as long as its weights are read until
some hundreds of tokens compute for longer. With one slope for all sizes it would be learnt from
large chunks, and small ones beside decodes look far dearer than they are.
"""

import numpy as np
from numpy.typing import NDArray

FADE = 0.98  # weight of a step beside the one after it
KNEES = (128, 384)  # tokens
SCALE = np.array((1.0, 1e2, 1e5, *(1e2 for _ in KNEES)))  # steps look like this: all of one size
PRIOR = np.array((0.02, 0.002 * 1e2, 1e-7 * 1e5, *(0.0 for _ in KNEES)))  # a small model, on a CPU
TRUST = 1e-3  # of the prior, in measured steps
MOST_TOKENS = 10**9

Vector = NDArray[np.float64]


class LatencyModel:
    """Fitted online: observing is cheap, the fit is computed on demand."""

    def __init__(self) -> None:
        self._squares = np.zeros((len(SCALE), len(SCALE)))
        self._products = np.zeros(len(SCALE))
        self._fit: tuple[float, ...] | None = None

    def observe(self, num_tokens: int, num_keys: int, elapsed_s: float) -> None:
        """A step ran."""
        beyond = (max(0, num_tokens - knee) for knee in KNEES)
        row = np.array((1.0, num_tokens, num_keys, *beyond)) / SCALE
        self._squares = FADE * self._squares + np.outer(row, row)
        self._products = FADE * self._products + elapsed_s * row
        self._fit = None

    def step_s(self, num_tokens: float, num_keys: float) -> float:
        fixed, per_token, per_key, *beyond = self._coefficients()
        seconds = fixed + per_token * num_tokens + per_key * num_keys
        for knee, slope in zip(KNEES, beyond, strict=True):
            if num_tokens > knee:
                seconds += slope * (num_tokens - knee)
        return seconds

    def prefill_s(self, start: int, end: int) -> float:
        """To compute tokens [start, end) of a prompt beside others."""
        num_keys = (end - start) * (start + end) // 2
        return self.step_s(end - start, num_keys) - self.step_s(0, 0)

    def tokens_within(self, limit_s: float, num_keys: int, context_len: int) -> int:
        """Most tokens of a step that ends within `limit_s`. `num_keys` are read by the decodes
        in it; the other tokens are a chunk after `context_len` others. May be 0."""
        low, high = 0, 1

        def fits(num: int) -> bool:
            keys = num_keys + num * context_len + num * num / 2
            return self.step_s(num, keys) <= limit_s

        while high < MOST_TOKENS and fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return min(low, MOST_TOKENS)

    def _coefficients(self) -> tuple[float, ...]:
        if self._fit is None:
            scaled = _fit_positive(
                self._squares + TRUST * np.eye(len(SCALE)), self._products + TRUST * PRIOR
            )
            self._fit = tuple((scaled / SCALE).tolist())
        return self._fit


def _fit_positive(squares: NDArray[np.float64], products: Vector) -> Vector:
    """Least squares from the normal equations; a coefficient that came out negative is left out."""
    used = np.arange(len(products))
    while True:
        found = np.linalg.solve(squares[np.ix_(used, used)], products[used])
        if (found >= 0).all():
            result: Vector = np.zeros(len(products))
            result[used] = found
            return result
        used = used[found > 0]
