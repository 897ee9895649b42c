"""Number types, devices and logits without torch: it takes longer to import than a small model
to load, and what runs on the C++ kernels does not need it."""

from typing import TYPE_CHECKING, Any, TypeAlias

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


def widened(stored: NDArray[Any], dtype: DType) -> NDArray[np.float32]:
    """Numbers of this type, given as their bits in whole numbers, as float32."""
    name = dtype_name(dtype)
    if name == "bfloat16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    values: NDArray[np.float32] = stored.view(name).astype(np.float32)
    return values


def narrowed(values: NDArray[np.float32], dtype: DType) -> NDArray[Any]:
    """The bits of the nearest numbers of this type; `values` are finite."""
    name = dtype_name(dtype)
    if name == "bfloat16":
        bits = values.view(np.uint32)
        bits = bits + (0x7FFF + ((bits >> 16) & 1))  # to nearest, ties to even
        return (bits >> 16).astype(np.uint16)
    return values.astype(name).view(bits_type(dtype))


def bits_type(dtype: DType) -> type[np.uint16] | type[np.uint32]:
    """The whole numbers as wide as this type."""
    return np.uint32 if dtype_bytes(dtype) == 4 else np.uint16
