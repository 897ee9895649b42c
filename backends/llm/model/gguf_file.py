"""A GGUF file: its metadata as plain Python values and its tensors as float32 arrays.

The header is read here because a vocabulary is 10^5 strings and the `gguf` package spends seconds
on them; blocks are dequantised by that package. Format: the GGUF specification, versions 2 and 3.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from backends.errors import EngineUnavailable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class _TensorInfo:
    shape: tuple[int, ...]  # innermost first
    type: gguf.GGMLQuantizationType
    offset: int  # bytes from the beginning of the tensor data

    @property
    def row_bytes(self) -> int:
        per_block, block_bytes = gguf.GGML_QUANT_SIZES[self.type]
        num_bytes: int = self.shape[0] // per_block * block_bytes
        return num_bytes

    @property
    def num_bytes(self) -> int:
        return self.row_bytes * math.prod(self.shape[1:])


class GGUFFile:
    """Opened (memory-mapped) GGUF. Raises EngineUnavailable when the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
            header = _Header(self._bytes.data)
            self.metadata: Mapping[str, Any] = header.metadata()
            self._tensors = header.tensors()
            self._data_start = header.end(self.metadata.get("general.alignment", 32))
            for name, info in self._tensors.items():
                self._check_place(name, info)
        except (OSError, ValueError, KeyError, RecursionError, struct.error) as error:
            raise EngineUnavailable(f"cannot read GGUF file {path}: {error}") from error

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Rows first, as in torch."""
        shape: tuple[int, ...] = self._tensors[name].shape[::-1]
        return shape

    def _check_place(self, name: str, info: _TensorInfo) -> None:
        """Raises ValueError for a tensor without elements, of broken blocks or out of the file."""
        if not all(info.shape) or info.shape[0] % gguf.GGML_QUANT_SIZES[info.type][0]:
            raise ValueError(f"tensor {name!r} cannot be {info.shape} of {info.type.name}")
        if self._data_start + info.offset + info.num_bytes > len(self._bytes):
            raise ValueError(f"it ends inside tensor {name!r}")

    def kind(self, name: str) -> str:
        """Its type's name."""
        return str(self._tensors[name].type.name)

    def stored(self, name: str) -> tuple[str, NDArray[np.uint8]]:
        """The type's name and the tensor's bytes [rows, bytes a row] as they lie in the file."""
        info = self._tensors[name]
        start = self._data_start + info.offset
        stored = self._bytes[start : start + info.num_bytes]  # [bytes]
        return info.type.name, stored.reshape(-1, info.row_bytes)

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Dequantised, rows first as in torch. Raises EngineUnavailable for an unknown type."""
        info = self._tensors[name]
        _, stored = self.stored(name)  # [rows, bytes]
        try:
            values = gguf.quants.dequantize(stored, info.type)
        except NotImplementedError as error:
            raise EngineUnavailable(
                f"{self.path}: tensor {name!r} is stored as {info.type.name}, which gguf cannot "
                "dequantise; take another quantisation of the model"
            ) from error
        return np.asarray(values, dtype=np.float32).reshape(info.shape[::-1])


_MOST_DIMS = 4  # as ggml has them
_SMALLEST_KEY, _SMALLEST_TENSOR, _SMALLEST_STRING = 13, 32, 8  # bytes in the header


class _Header:
    """Reads the header front to back: call `metadata`, `tensors`, `end` in this order."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        if bytes(data[:4]) != MAGIC:
            raise ValueError("it does not begin with GGUF")
        self._at = 4
        (version,) = self._unpack("I")
        if version not in VERSIONS:
            raise ValueError(f"GGUF version {version} is not known (or is big-endian)")
        self._num_tensors, self._num_keys = self._unpack("QQ")
        self._check_count(self._num_keys, _SMALLEST_KEY, "metadata entries")
        self._check_count(self._num_tensors, _SMALLEST_TENSOR, "tensors")

    def metadata(self) -> dict[str, Any]:
        values = {}
        for _ in range(self._num_keys):
            key = self._string()
            (kind,) = self._unpack("I")
            values[key] = self._value(kind)
        return values

    def tensors(self) -> dict[str, _TensorInfo]:
        infos = {}
        for _ in range(self._num_tensors):
            name = self._string()
            (num_dims,) = self._unpack("I")
            if not 1 <= num_dims <= _MOST_DIMS:
                raise ValueError(f"tensor {name!r} has {num_dims} dimensions")
            shape = self._unpack(f"{num_dims}Q")
            kind, offset = self._unpack("IQ")
            infos[name] = _TensorInfo(shape, gguf.GGMLQuantizationType(kind), offset)
        return infos

    def end(self, alignment: Any) -> int:
        """Where the tensor data begins."""
        if type(alignment) is not int or not 1 <= alignment <= 1 << 20:
            raise ValueError(f"its alignment is {alignment!r}")
        return -(-self._at // alignment) * alignment

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._unpack(_SCALARS[kind])[0]
        item_kind, length = self._unpack("IQ")
        if item_kind == _ARRAY:
            raise ValueError("it holds arrays of arrays")
        if item_kind in _SCALARS:
            return list(self._unpack(f"{length}{_SCALARS[item_kind]}"))
        if item_kind != _STRING:
            raise ValueError(f"it holds an array of the unknown type {item_kind}")
        self._check_count(length, _SMALLEST_STRING, "strings")
        return [self._string() for _ in range(length)]

    def _check_count(self, count: int, num_bytes: int, what: str) -> None:
        if count * num_bytes > len(self._data) - self._at:
            raise ValueError(f"it says {count} {what}, more than fit the file")

    def _string(self) -> str:
        (length,) = self._unpack("Q")
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise ValueError("it ends inside its header")
        return str(self._data[start : self._at], "utf-8", "replace")

    def _unpack(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return values
