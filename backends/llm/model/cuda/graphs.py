"""Captured decode steps: one CUDA graph for each of some batch sizes.

A batch takes the next larger graph; rows that only fill it up write to the scratch page. On a CPU
nothing is captured and the step's code runs again, for tests.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_SMALL = (1, 2, 4, 8, 16, 24, 32)
_STRIDE, _LARGEST = 16, 256


class DecodeOutput(NamedTuple):
    """Good until the next step."""

    tokens: Tensor  # [B]
    logits: Tensor  # [B, V]


RunDecodes = Callable[[int], DecodeOutput]  # of a batch size


def graph_sizes(max_running: int) -> tuple[int, ...]:
    """Batch sizes worth a graph, rising: the last one serves `max_running`, up to 256."""
    sizes = (*_SMALL, *range(_SMALL[-1] + _STRIDE, _LARGEST + 1, _STRIDE))
    return tuple(n for i, n in enumerate(sizes) if i == 0 or sizes[i - 1] < max_running)


class DecodeGraphs:
    """`run` decodes a batch of the size it is given, of what lies in the step's arrays, without a
    word to the host. `prepare` fills these with a step of nobody."""

    def __init__(
        self,
        sizes: Iterable[int],
        run: RunDecodes,
        prepare: Callable[[int], None],
        device: torch.device,
    ) -> None:
        self._replays: dict[int, Callable[[], DecodeOutput]] = {}
        self._memory: Any = None  # one pool: the largest graph's fits all
        for size in sorted(sizes, reverse=True):
            prepare(size)
            self._replays[size] = self._captured(run, size, device)
        self._sizes = sorted(self._replays)

    def size_for(self, num_rows: int) -> int | None:
        """The smallest graph with that many rows; None when there is none."""
        return next((size for size in self._sizes if size >= num_rows), None)

    def replay(self, size: int) -> DecodeOutput:
        """Compute what lies in the step's arrays."""
        return self._replays[size]()

    def _captured(
        self, run: RunDecodes, size: int, device: torch.device
    ) -> Callable[[], DecodeOutput]:
        if device.type != "cuda":
            return lambda: run(size)
        run(size)  # compiles kernels, and lets cuBLAS allocate what it keeps
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            output = run(size)
        self._memory = graph.pool()

        def replay() -> DecodeOutput:
            graph.replay()
            return output

        return replay
