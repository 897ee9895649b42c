"""Step times for many steps at once.

A step of n decodes that attend to K keys takes base(n) + slope(n) K: of attention's compute and
traffic each grows with K alone, and so does the longer. In j steps K grows by n each:

    seconds(j) = j base + slope (j K + n j (j - 1) / 2)

What the engine takes before each step is in base.
"""

from collections.abc import Sequence
from functools import lru_cache

from backends.emulated.roofline import Roofline, Rows

_KEYS = 4096  # at which the slope is measured


class StepTimes:
    """Of a roofline."""

    def __init__(self, roofline: Roofline) -> None:
        self.between_steps_s = roofline.device.between_steps_s
        self._roofline = roofline
        self._line = lru_cache(maxsize=None)(self._measured)

    def decodes_s(self, num_steps: int, num_decodes: int, num_keys: int) -> float:
        """So many steps of nothing but decodes, which attend to `num_keys` in the first."""
        if not num_decodes:
            return 0.0
        base_s, slope_s = self._line(num_decodes)
        grown = num_decodes * num_steps * (num_steps - 1) / 2
        return num_steps * base_s + slope_s * (num_steps * num_keys + grown)

    def mixed_s(self, chunks: Sequence[Rows], num_ended: int, n: int, num_keys: int) -> float:
        """A step of chunks of prompts, of which `num_ended` are complete, beside n decodes."""
        each = num_keys / n if n else 0.0
        spans = [*chunks, *(Rows(1, each) for _ in range(n))]  # type: ignore[arg-type]
        return self._roofline.step_s(spans, n + num_ended) + self.between_steps_s

    def steps_until(self, seconds: float, most: int, num_decodes: int, num_keys: int) -> int:
        """The first end of a step at `seconds` or later, at least one and at most `most`."""
        low, high = 1, most
        while low < high:
            middle = (low + high) // 2
            if self.decodes_s(middle, num_decodes, num_keys) >= seconds:
                high = middle
            else:
                low = middle + 1
        return low

    def _measured(self, n: int) -> tuple[float, float]:
        none_s = self._roofline.step_s([Rows(1, 0)] * n, n)
        some_s = self._roofline.step_s([Rows(1, _KEYS)] * n, n)
        return none_s + self.between_steps_s, (some_s - none_s) / (n * _KEYS)
