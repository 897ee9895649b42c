"""Where the kernels' weights come from: a GGUF file, whose blocks may be kept, or plain tensors."""

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from backends.errors import EngineUnavailable
from backends.llm.model.config import ModelConfig
from backends.llm.model.gguf_file import GGUFFile
from backends.llm.model.weights import (
    ROPE_FACTORS,
    check_factors,
    expected_shapes,
    hf_name,
    unpermute,
)
from backends.native.packing import Blocks, Floats

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = frozenset(("Q8_0", "Q4_0", "Q4_1"))


def has_blocks(file: GGUFFile) -> bool:
    """Whether the kernels can compute on some of its tensors as they are stored."""
    return any(file.kind(name) in _KEPT for name in file.names)


class GGUFSource:
    """Raises EngineUnavailable naming a missing, unexpected or misshapen tensor."""

    def __init__(self, file: GGUFFile, config: ModelConfig) -> None:
        self._file = file
        self._names = {hf_name(name): name for name in file.names}
        self._heads: dict[str, int] = {}
        if file.metadata["general.architecture"] == "llama":
            self._heads = {".q_proj.": config.num_heads, ".k_proj.": config.num_kv_heads}
        expected = expected_shapes(config)
        if config.tied_embeddings:
            self._names.pop("lm_head.weight", None)
        for name in sorted(self._names.keys() | expected.keys()):
            if name == ROPE_FACTORS:
                check_factors(file.shape(self._names[name]), config, str(file.path))
            else:
                self._check(name, expected)

    def values(self, name: str) -> Floats:
        values = self._file.tensor(self._names[name])
        return self._in_order(name, values)

    def blocks(self, name: str) -> Blocks | None:
        kind, rows = self._file.stored(self._names[name])
        return Blocks(kind, self._in_order(name, rows)) if kind in _KEPT else None

    def _in_order(self, name: str, rows: NDArray[Any]) -> NDArray[Any]:
        for part, num_heads in self._heads.items():
            if part in name:
                return unpermute(rows, num_heads)
        return rows

    def _check(self, name: str, expected: dict[str, tuple[int, ...]]) -> None:
        where = self._file.path
        if name not in self._names:
            raise EngineUnavailable(f"{where}: missing tensor {name!r}")
        if name not in expected:
            raise EngineUnavailable(f"{where}: unexpected tensor {name!r}")
        shape = self._file.shape(self._names[name])
        if shape != expected[name]:
            raise EngineUnavailable(
                f"{where}: tensor {name!r} is {shape}, expected {expected[name]}"
            )


class TensorSource:
    """Tensors by Hugging Face name, checked before."""

    def __init__(self, tensors: "dict[str, Tensor]") -> None:
        self._tensors = tensors

    def values(self, name: str) -> Floats:
        values: Floats = self._tensors[name].float().numpy()
        return values

    def blocks(self, name: str) -> Blocks | None:  # noqa: ARG002 - a WeightSource
        return None
