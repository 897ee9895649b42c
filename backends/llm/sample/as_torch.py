"""Logits of the C++ kernels as tensors, which few cores compute on alone.

Torch splits an operation over threads of its own, which wake for it and then spin for a moment.
Where cores are few that costs more than it saves, and much more where other work runs too: the
kernels have a thread on every core.
"""

import threading

import numpy as np
import torch
from torch import Tensor

from backends.llm.model.dtypes import Logits

FEW_THREADS = 4  # of torch; with more, a step of many rows is worth them

_state = threading.local()


def as_torch(logits: Logits) -> Tensor:
    """The same memory, on the CPU or a device. On the thread of an engine whose kernels gave the
    logits, torch computes without other threads from then on; elsewhere nothing changes."""
    if isinstance(logits, np.ndarray) and not getattr(_state, "is_settled", False):
        _state.is_settled = True
        _compute_alone()
    return torch.as_tensor(logits)


def _compute_alone() -> None:
    num_threads = torch.get_num_threads()
    if 1 < num_threads <= FEW_THREADS:
        torch.set_num_threads(1)  # of this thread, and of all that begin to compute later ...
        other = threading.Thread(target=torch.set_num_threads, args=(num_threads,))
        other.start()  # ... but for this
        other.join()
