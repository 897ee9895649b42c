"""Weights of GGUF and safetensors files as one dict of Hugging Face names in the target dtype."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from backends.errors import EngineUnavailable
from backends.llm.model.config import ModelConfig
from backends.llm.model.dtypes import Device, DType, dtype_name
from backends.llm.model.gguf_file import GGUFFile
from backends.models.model_files import json_object, reading

if TYPE_CHECKING:
    from torch import Tensor

ROPE_FACTORS = "rope_freqs.weight"  # optional: divides each rotary frequency, [D / 2]
_FILE_NAME = re.compile(r"[\w.-]+")
_GGUF_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    ROPE_FACTORS: ROPE_FACTORS,
}
_GGUF_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor the model needs, by Hugging Face name."""
    hidden, width = config.hidden_size, config.intermediate_size
    q_rows, kv_rows = (n * config.head_dim for n in (config.num_heads, config.num_kv_heads))
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config.tied_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    for i in range(config.num_layers):
        layer = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{layer}{norm}.weight"] = (hidden,)
        for name, rows in (("q", q_rows), ("k", kv_rows), ("v", kv_rows)):
            shapes[f"{layer}self_attn.{name}_proj.weight"] = (rows, hidden)
            if config.qkv_bias:
                shapes[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{layer}self_attn.o_proj.weight"] = (hidden, q_rows)
        shapes[f"{layer}mlp.gate_proj.weight"] = (width, hidden)
        shapes[f"{layer}mlp.up_proj.weight"] = (width, hidden)
        shapes[f"{layer}mlp.down_proj.weight"] = (hidden, width)
    return shapes


def load_gguf(
    file: GGUFFile, config: ModelConfig, dtype: DType, device: Device
) -> "dict[str, Tensor]":
    """Dequantised weights. Raises EngineUnavailable naming a missing or unexpected tensor."""
    import torch

    kept = getattr(torch, dtype_name(dtype))
    permuted = file.metadata["general.architecture"] == "llama"

    def tensors() -> "Iterator[tuple[str, Tensor]]":
        for gguf_name in sorted(file.names):
            values = file.tensor(gguf_name)
            name = hf_name(gguf_name)
            if permuted and ".q_proj." in name:
                values = unpermute(values, config.num_heads)
            elif permuted and ".k_proj." in name:
                values = unpermute(values, config.num_kv_heads)
            wanted = torch.float32 if name == ROPE_FACTORS else kept
            yield name, _to_torch(values).to(device, wanted)

    return _checked(tensors(), config, str(file.path))


def load_safetensors(
    folder: Path, config: ModelConfig, dtype: DType, device: Device
) -> "dict[str, Tensor]":
    """Weights of a Hugging Face folder. Raises EngineUnavailable as `load_gguf` does."""
    import torch

    kept = getattr(torch, dtype_name(dtype))

    def tensors() -> "Iterator[tuple[str, Tensor]]":
        for path in _shards(folder):
            with reading(path), _opened(path) as shard:
                for name in shard.keys():  # noqa: SIM118 (not a dict)
                    if not name.endswith("rotary_emb.inv_freq"):  # a buffer of old checkpoints
                        yield name, shard.get_tensor(name).to(device, kept)

    return _checked(tensors(), config, str(folder))


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise EngineUnavailable(f"cannot read weights {path}: {error}; fetch them again") from error


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return [folder / name for name in sorted(set(_weight_map(index).values()))]
    single = folder / "model.safetensors"
    if not single.exists():
        raise EngineUnavailable(
            f"{folder} holds neither model.safetensors nor model.safetensors.index.json"
        )
    return [single]


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor -> file in the folder of `index`. Raises EngineUnavailable for a path out of it."""
    mapping = json_object(index).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise EngineUnavailable(f"{index} has no weight_map of tensors and files")
    for name in mapping.values():
        if not isinstance(name, str) or name == ".." or not _FILE_NAME.fullmatch(name):
            raise EngineUnavailable(
                f"{index} names {name!r}, which is no file of its folder: take another copy"
            )
    return mapping


def check_factors(shape: tuple[int, ...], config: ModelConfig, where: str) -> None:
    if shape != (config.head_dim // 2,):
        raise EngineUnavailable(
            f"{where}: tensor {ROPE_FACTORS!r} is {shape}, expected {(config.head_dim // 2,)}"
        )


def hf_name(gguf_name: str) -> str:
    if not gguf_name.startswith("blk."):
        return _GGUF_TOP.get(gguf_name, gguf_name)
    _, layer, block, suffix = gguf_name.split(".", 3)
    return f"model.layers.{layer}.{_GGUF_BLOCK.get(block, block)}.{suffix}"


def _to_torch(values: NDArray[np.float32]) -> "Tensor":
    """Without a copy where the array is our own; a view into the file is copied."""
    import torch

    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def unpermute(values: NDArray[Any], num_heads: int) -> NDArray[Any]:
    """llama.cpp stores q and k rows pairwise interleaved; back to half-and-half rotation."""
    rows = values.shape[0]
    paired = values.reshape(num_heads, rows // num_heads // 2, 2, -1)
    return paired.swapaxes(1, 2).reshape(values.shape)


def _checked(
    tensors: "Iterator[tuple[str, Tensor]]", config: ModelConfig, where: str
) -> "dict[str, Tensor]":
    expected = expected_shapes(config)
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors:
        if name == "lm_head.weight" and config.tied_embeddings:
            continue  # some files store the tied matrix twice
        if name == ROPE_FACTORS:
            check_factors(tuple(tensor.shape), config, where)
        elif name not in expected:
            raise EngineUnavailable(f"{where}: unexpected tensor {name!r}")
        elif tuple(tensor.shape) != expected[name]:
            raise EngineUnavailable(
                f"{where}: tensor {name!r} is {tuple(tensor.shape)}, expected {expected[name]}"
            )
        weights[name] = tensor
    missing = sorted(expected.keys() - weights.keys())
    if missing:
        raise EngineUnavailable(f"{where}: missing tensor {missing[0]!r} ({len(missing)} in all)")
    return weights
