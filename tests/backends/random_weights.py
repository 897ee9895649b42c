"""Random weights of a configuration, as numbers and as blocks of a GGUF file."""

import gguf
import numpy as np

from backends.llm.model.config import ModelConfig
from backends.llm.model.weights import expected_shapes
from backends.native.packing import Blocks, Floats


class RandomWeights:
    """Blocks are of `kind`; with `is_exact` the values are those of the blocks."""

    def __init__(self, config: ModelConfig, kind: str, is_exact: bool = False) -> None:
        rng = np.random.default_rng(0)
        self._kind = gguf.GGMLQuantizationType[kind]
        self._values: dict[str, Floats] = {
            name: rng.normal(0, 0.2, shape).astype(np.float32)
            for name, shape in expected_shapes(config).items()
        }
        for name, values in self._values.items():
            if is_exact and values.ndim == 2:
                rows = gguf.quants.quantize(values, self._kind)
                self._values[name] = gguf.quants.dequantize(rows, self._kind)

    def values(self, name: str) -> Floats:
        return self._values[name]

    def blocks(self, name: str) -> Blocks:
        return Blocks(self._kind.name, gguf.quants.quantize(self._values[name], self._kind))
