"""A GGUF file: its metadata as plain Python values and its tensors as float32 arrays.

The header is read here because a vocabulary is 10^5 strings and the `gguf` package spends seconds
on them; blocks are dequantised by that package. Format: the GGUF specification, versions 2 and 3.
"""

import struct
from collections.abc import Callable, Mapping
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


class GGUFFile:
    """Opened (memory-mapped) GGUF. Raises EngineUnavailable when the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
            header = _Header(self._bytes.data)
            self.metadata: Mapping[str, Any] = header.metadata()
            self._tensors = header.tensors()
            self._data_start = header.end(int(self.metadata.get("general.alignment", 32)))
        except (OSError, ValueError, KeyError, struct.error) as error:
            raise EngineUnavailable(f"cannot read GGUF file {path}: {error}") from error

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Rows first, as in torch."""
        shape: tuple[int, ...] = self._tensors[name].shape[::-1]
        return shape

    def stored(self, name: str) -> tuple[str, NDArray[np.uint8]]:
        """The type's name and the tensor's bytes [rows, bytes a row] as they lie in the file."""
        info = self._tensors[name]
        rows, *outer = info.shape
        per_block, block_bytes = gguf.GGML_QUANT_SIZES[info.type]
        row_bytes = rows // per_block * block_bytes
        size = row_bytes * int(np.prod(outer, dtype=np.int64))
        start = self._data_start + info.offset
        stored = self._bytes[start : start + size]  # [bytes]
        if len(stored) < size:
            raise EngineUnavailable(f"{self.path} ends inside tensor {name!r}; fetch it again")
        return info.type.name, stored.reshape(-1, row_bytes)

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
            shape = self._unpack(f"{num_dims}Q")
            kind, offset = self._unpack("IQ")
            infos[name] = _TensorInfo(shape, gguf.GGMLQuantizationType(kind), offset)
        return infos

    def end(self, alignment: int) -> int:
        """Where the tensor data begins."""
        return -(-self._at // alignment) * alignment

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._unpack(_SCALARS[kind])[0]
        item_kind, length = self._unpack("IQ")
        if item_kind in _SCALARS:
            return list(self._unpack(f"{length}{_SCALARS[item_kind]}"))
        read: Callable[[], Any] = (
            self._string if item_kind == _STRING else lambda: self._value(item_kind)
        )
        return [read() for _ in range(length)]

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
