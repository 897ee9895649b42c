"""How a model computes: in float32, in bfloat16, or in int8 products beside bfloat16."""

from typing import Literal

from backends.devices import is_cpu
from backends.errors import ConfigError
from backends.llm.model.dtypes import Device
from backends.llm.options import LLMOptions
from backends.native.library import has_bfloat16

Numerics = Literal["float32", "bfloat16", "int8"]


def pick_numerics(
    options: LLMOptions, device: Device, obstacle: str | None, has_blocks: bool
) -> Numerics:
    """`auto` is the fastest whose quality is that of float32 (`benchmarks/bench_quality.py`): int8
    where the file has 4-bit or 8-bit blocks, bfloat16 where products of it have an instruction.
    `obstacle`: why the kernels cannot run, None when they can. Raises ConfigError for an int8 that
    cannot be."""
    if options.dtype == "int8":
        _check_int8(options, obstacle, has_blocks)
        return "int8"
    if options.dtype != "auto":
        return options.dtype
    if not is_cpu(device):
        return "bfloat16"
    if obstacle is not None:
        return "float32"
    if has_blocks and options.weights != "full":
        return "int8"
    return "bfloat16" if has_bfloat16() or options.weights == "stored" else "float32"


def dtype_of(numerics: Numerics) -> str:
    """Of keys, values and weights that are no blocks."""
    return "float32" if numerics == "float32" else "bfloat16"


def _check_int8(options: LLMOptions, obstacle: str | None, has_blocks: bool) -> None:
    if options.weights == "full":
        raise ConfigError(
            "dtype='int8' multiplies the file's own 4-bit and 8-bit blocks, which weights='full' "
            "unpacks: leave out one of them"
        )
    if obstacle is not None:
        raise ConfigError(f"dtype='int8' needs the native kernels: {obstacle}")
    if not has_blocks:
        raise ConfigError(
            "dtype='int8' needs a GGUF file with Q4_0, Q4_1 or Q8_0 weights, which this model does "
            "not have: choose dtype='auto' or another file"
        )
