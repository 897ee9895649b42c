"""A device file for the machine at hand: the roofline's parameters, fitted to steps that ran.

With x(r) the seconds of a FLOP in linear layers of r rows, a step of T tokens in S spans takes

    step + row S + x(T) 2 P T + x(R) 2 d V R + 4 L H D (y K + z K1)     (symbols: see `roofline`)

with K1 of the spans of one row and K of the others. That is linear in step, row, y, z and x at each
knot: the least relative errors, nothing below zero. What memory traffic costs is in x, which is a
table by rows. Relative errors alone would make all steps together too short, for some take longer
than others like them and none much shorter; so in the end all are made longer by one factor, with
which they take the measured time together. A queue feels that sum, and near saturation many times.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backends.emulated.hardware import Device, Shape
from backends.emulated.measure import Measured

KNOTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512)  # rows

_NUM_REWEIGHTED = 20
_EXACT = 0.01  # a relative error that counts as none
_DISTURBED = 2.0  # a step that took so many times what it should was stopped by something else

Matrix = NDArray[np.float64]


def fit(
    steps: Sequence[Measured],
    shape: Shape,
    memory_bytes: float,
    source: str,
    between_steps_s: float = 0.0,
) -> Device:
    """The device that explains the steps of a model of `shape`: each of them as it came, so that
    sizes of which there are many matter more."""
    rows = np.array([_terms(step, shape) for step in steps])  # [N, 4 + knots]
    seconds = np.array([step.seconds for step in steps])
    found = _robust(rows / seconds[:, None])
    found *= _times_longer(rows @ found, seconds)
    step_s, row_s, attention_s, alone_s, *flop_s = found.tolist()
    slowest = max(flop_s)
    known = {knot: s or slowest for knot, s in zip(KNOTS, flop_s, strict=True)}
    peak = 1.05 / min(known.values())
    # Traffic is in the table; this bandwidth is what one row's weights were read with, at least.
    one_row_s = known[1] * 2 * shape.layer_params
    return Device(
        source=source,
        peak_flops={"bfloat16": peak, "float32": peak},
        bandwidth_bytes_s=8 * shape.layer_params / one_row_s,
        memory_bytes=memory_bytes,
        efficiency={knot: 1 / (s * peak) for knot, s in known.items()},
        attention_efficiency=_share(attention_s * peak),
        decode_attention_efficiency=_share(alone_s * peak),
        bandwidth_efficiency=1.0,
        step_overhead_s=step_s,
        layer_overhead_s=0.0,
        row_overhead_s=row_s,
        between_steps_s=between_steps_s,
    )


def _share(flop_times: float) -> float:
    """Of the peak, where a FLOP takes so many times what it takes there."""
    return min(1.0, 1 / flop_times) if flop_times else 1.0


def _terms(step: Measured, shape: Shape) -> list[float]:
    """What the coefficients of a step's seconds are multiplied with."""
    flops = 4.0 * shape.layers * shape.heads * shape.head_size  # of attention, a row and key
    together = flops * sum(r * (keys - (r - 1) / 2) for r, keys in step.spans if r > 1)
    alone = flops * sum(keys for r, keys in step.spans if r == 1)
    linear = _shares(step.num_tokens) * (2.0 * shape.layer_params * step.num_tokens)
    linear += _shares(step.num_logits) * (2.0 * shape.head_params * step.num_logits)
    return [1.0, len(step.spans), together, alone, *linear.tolist()]


def _shares(num_rows: int) -> Matrix:
    """How much of each knot is in so many rows, as `Device.efficiency_at` has it."""
    found = [np.interp(num_rows, KNOTS, np.eye(len(KNOTS))[i]) for i in range(len(KNOTS))]
    return np.array(found)


def _robust(rows: Matrix) -> Matrix:
    """Coefficients by which each row sums to 1, as nearly as can be: absolute errors count, so that
    steps which something else disturbed matter little (iteratively reweighted least squares)."""
    weights = np.ones(len(rows))
    for _ in range(_NUM_REWEIGHTED):
        found = _not_negative(rows * weights[:, None], weights)
        weights = 1 / np.sqrt(np.maximum(np.abs(rows @ found - 1), _EXACT))
    return found


def _times_longer(ours: Matrix, seconds: Matrix) -> float:
    """What all steps but the disturbed ones took together, to what they should have taken."""
    counts = seconds < _DISTURBED * ours
    return float(seconds[counts].sum() / ours[counts].sum())


def _not_negative(rows: Matrix, wanted: Matrix) -> Matrix:
    """Least squares; what would come out negative is left out, the most negative first."""
    scale = np.abs(rows).max(axis=0)
    used = [i for i in range(rows.shape[1]) if scale[i] > 0]
    while True:
        found, *_ = np.linalg.lstsq(rows[:, used] / scale[used], wanted, rcond=None)
        if (found >= 0).all():
            result = np.zeros(rows.shape[1])
            result[used] = found / scale[used]
            return result
        used.pop(int(found.argmin()))
