"""A GGUF file: its metadata as plain Python values and its tensors as float32 arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from backends.errors import EngineUnavailable


class GGUFFile:
    """Opened (memory-mapped) GGUF. Raises EngineUnavailable when the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            reader = gguf.GGUFReader(path)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise EngineUnavailable(f"cannot read GGUF file {path}: {error}") from error
        self.metadata: Mapping[str, Any] = {k: f.contents() for k, f in reader.fields.items()}
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Dequantised, rows first as in torch. Raises EngineUnavailable for an unknown type."""
        stored = self._tensors[name]
        try:
            values = gguf.quants.dequantize(stored.data, stored.tensor_type)
        except NotImplementedError as error:
            kind = stored.tensor_type.name
            raise EngineUnavailable(
                f"{self.path}: tensor {name!r} is stored as {kind}, which gguf cannot dequantise; "
                "take another quantisation of the model"
            ) from error
        return np.asarray(values, dtype=np.float32).reshape(tuple(stored.shape[::-1]))
