"""Number types, devices and logits without torch: it takes longer to import than a small model
to load, and what runs on the C++ kernels does not need it."""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

DType: TypeAlias = "str | torch.dtype"  # "float32", "bfloat16" ...
Device: TypeAlias = "str | torch.device"  # "cpu", "cuda:0" ...
Logits: TypeAlias = "NDArray[np.float32] | torch.Tensor"  # the kernels' own, or torch's; [R, V]
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def dtype_name(dtype: DType) -> str:
    return str(dtype).removeprefix("torch.")


def dtype_bytes(dtype: DType) -> int:
    """Of one number."""
    return _BYTES[dtype_name(dtype)]
