"""R, the recovered fraction: what of the loss of full reuse a plan brings back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_NUM_SAMPLES = 2000
_NO_LOSS = 1e-9  # nats a token: rounding


class Recovered(NamedTuple):
    """With its 95 % interval over questions."""

    r: float
    low: float
    high: float


def recovered(kl: Sequence[float], reuse_kl: Sequence[float]) -> Recovered:
    """Of a plan's divergences and those of `reuse` on the same questions, by bootstrap. Where reuse
    loses nothing there is nothing to recover: R is 1."""
    own, base = np.asarray(kl), np.asarray(reuse_kl)
    if base.mean() <= _NO_LOSS:
        return Recovered(1.0, 1.0, 1.0)
    picks = np.random.default_rng(0).integers(0, len(own), (_NUM_SAMPLES, len(own)))
    found = 1 - own[picks].mean(1) / np.maximum(base[picks].mean(1), _NO_LOSS)
    low, high = np.quantile(found, (0.025, 0.975))
    return Recovered(float(1 - own.mean() / base.mean()), float(low), float(high))
