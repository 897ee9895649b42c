"""An adapter folder of PEFT from disk, checked tensor by tensor against the base model."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from backends.errors import ConfigError
from backends.llm.lora.adapter import Delta, LayerDeltas, LoadedAdapter
from backends.llm.lora.config import MODULES, LoraConfig, read_config
from backends.llm.model.config import ModelConfig
from backends.llm.model.dtypes import Device
from backends.llm.model.weights import expected_shapes

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_FUSED = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "out": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}
_TENSOR = re.compile(r"base_model\.model\.(model\.layers\.\d+\.\w+\.\w+)\.lora_([AB])\.weight")


@dataclass(frozen=True, slots=True)
class _Module:
    """One adapted linear layer; the scale is in b already."""

    a: Tensor  # [r, in]
    b: Tensor  # [out, r]


def read_adapter(folder: Path, model: ModelConfig, device: Device) -> LoadedAdapter:
    """Read and check everything. Raises ConfigError naming the file, setting or tensor."""
    config_bytes, weights_bytes = (_read(folder / name) for name in (CONFIG_FILE, WEIGHTS_FILE))
    config = _parse_config(config_bytes, str(folder / CONFIG_FILE))
    tensors = _parse_weights(weights_bytes, folder / WEIGHTS_FILE)
    modules = _Reading(config, model, str(folder / WEIGHTS_FILE)).modules(tensors)
    shapes = expected_shapes(model)
    layers = tuple(_layer(modules, shapes, i, device) for i in range(model.num_layers))
    return LoadedAdapter(layers, _digest(config_bytes, weights_bytes))


class _Reading:
    """One file against one base model."""

    def __init__(self, config: LoraConfig, model: ModelConfig, where: str) -> None:
        self.config, self.where = config, where
        suffix = ".weight"
        self.shapes = {
            name.removesuffix(suffix): shape
            for name, shape in expected_shapes(model).items()
            if name.removesuffix(suffix).rsplit(".", 1)[-1] in MODULES
        }  # the base model's linear layers: (out, in)

    def modules(self, tensors: Mapping[str, Tensor]) -> dict[str, _Module]:
        """By full name in the base model."""
        halves: dict[str, dict[str, Tensor]] = {}
        for name, tensor in sorted(tensors.items()):
            module, half = self.place(name)
            halves.setdefault(module, {})[half] = self.checked(name, module, half, tensor)
        for module in filter(self.config.must_have, self.shapes):
            halves.setdefault(module, {})
        if not halves:
            raise ConfigError(f"{self.where} holds no tensors")
        return {module: self.module(module, given) for module, given in halves.items()}

    def place(self, name: str) -> tuple[str, str]:
        match = _TENSOR.fullmatch(name)
        if match is None or match[1] not in self.shapes:
            raise ConfigError(f"{self.where}: tensor {name!r} fits nothing in the base model")
        return match[1], match[2]

    def checked(self, name: str, module: str, half: str, tensor: Tensor) -> Tensor:
        num_out, num_in = self.shapes[module]
        rank = self.config.rank_of(module)
        expected = (rank, num_in) if half == "A" else (num_out, rank)
        if tuple(tensor.shape) != expected:
            raise ConfigError(
                f"{self.where}: tensor {name!r} is {tuple(tensor.shape)}, expected {expected} for "
                "this base model and rank: is the adapter of another model?"
            )
        wide = tensor.float()
        if not bool(wide.isfinite().all()):
            raise ConfigError(f"{self.where}: tensor {name!r} is not finite")
        return wide

    def module(self, module: str, given: Mapping[str, Tensor]) -> _Module:
        missing = sorted({"A", "B"} - given.keys())
        if missing:
            name = f"base_model.model.{module}.lora_{missing[0]}.weight"
            raise ConfigError(f"{self.where}: missing tensor {name!r}")
        return _Module(given["A"], self.scaled(module, given["B"]))

    def scaled(self, module: str, b: Tensor) -> Tensor:
        scale = self.config.scale_of(module)
        scaled = b * scale
        if not bool(scaled.isfinite().all()):
            raise ConfigError(
                f"{self.where}: the B of {module!r} times its scale {scale:g} (from lora_alpha and "
                "the rank) is not finite"
            )
        return scaled


def _layer(
    modules: Mapping[str, _Module],
    shapes: Mapping[str, tuple[int, ...]],
    i: int,
    device: Device,
) -> LayerDeltas:
    prefix = f"model.layers.{i}."
    fused = {}
    for projection, names in _FUSED.items():
        full = [f"{prefix}{MODULES[name]}.{name}" for name in names]
        parts = [(shapes[f"{name}.weight"][0], modules.get(name)) for name in full]
        fused[projection] = _fuse(parts, device)
    return LayerDeltas(**fused)


def _fuse(parts: Iterable[tuple[int, _Module | None]], device: Device) -> Delta | None:
    """One delta for projections that are one matrix in the model: ranks end to end, b in blocks."""
    num_outs, modules = zip(*parts, strict=True)
    present = [module for module in modules if module is not None]
    if not present:
        return None
    a = torch.cat([module.a for module in present])  # [R, in]
    b = torch.zeros(sum(num_outs), len(a))  # [out, R]
    row = column = 0
    for num_out, module in zip(num_outs, modules, strict=True):
        if module is not None:
            rank = len(module.a)
            b[row : row + num_out, column : column + rank] = module.b
            column += rank
        row += num_out
    return Delta(a.to(device), b.to(device))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; an adapter is a folder with {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}, as PEFT's save_pretrained makes it"
        ) from error


def _parse_config(content: bytes, where: str) -> LoraConfig:
    try:
        raw: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} is not a JSON object")
    return read_config(raw, where)


def _parse_weights(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = parse_safetensors(content)
    except SafetensorError as error:
        raise ConfigError(f"{path} is not a whole safetensors file: {error}") from error
    return tensors


def _digest(*contents: bytes) -> str:
    each = (hashlib.sha256(content).digest() for content in contents)
    return hashlib.sha256(b"".join(each)).hexdigest()
