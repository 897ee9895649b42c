"""Adapters from disk: whatever we would compute wrongly is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backends.errors import ConfigError
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.lora.files import read_adapter

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
CPU = torch.device("cpu")
Q0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture
def folder(adapter_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(adapter_folder(), tmp_path / "adapter"))


@pytest.fixture
def read(tiny: Any) -> Callable[[Path], LoadedAdapter]:
    return lambda folder: read_adapter(folder, tiny.found.config, CPU)


def set_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_fused_delta_equals_the_sum_of_its_parts(
    read: Callable[[Path], LoadedAdapter], folder: Path, tiny: Any
) -> None:
    layer = read(folder).layers[1]
    assert layer.qkv is not None
    assert layer.qkv.a.shape == (12, 32)
    assert layer.qkv.b.shape == (32 + 16 + 16, 12)
    tensors = load_file(folder / "adapter_model.safetensors")
    x = torch.randn(5, 32)
    parts = []
    for name in "qkv":
        prefix = f"base_model.model.model.layers.1.self_attn.{name}_proj.lora_"
        a, b = tensors[f"{prefix}A.weight"], tensors[f"{prefix}B.weight"]
        parts.append(2.0 * x @ a.T @ b.T)
    assert torch.allclose(layer.qkv.of(x), torch.cat(parts, dim=1), atol=1e-5)


def test_bytes_and_digest_are_those_of_the_content(
    read: Callable[[Path], LoadedAdapter], adapter_folder: Callable[..., Path], folder: Path
) -> None:
    original = read(adapter_folder())
    assert original.digest == read(folder).digest != read(adapter_folder(7)).digest
    tensors = [t for layer in original.layers for d in layer.deltas() for t in (d.a, d.b)]
    assert original.num_bytes == 4 * sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3'"),
        ({"use_dora": True}, "use_dora=True .*DoRA"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
        ({"target_modules": ["q_proj", "lm_head"]}, "target module 'lm_head'.*q_proj, k_proj"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA"),
        ({"r": 0}, "at least 1"),
        ({"r": "four"}, "not complete"),
        ({"rank_pattern": {"q_proj": 8}}, rf"'{Q0}' is \(4, 32\), expected \(8, 32\)"),
    ],
)
def test_settings_that_change_the_result_are_refused(
    read: Callable[[Path], LoadedAdapter], folder: Path, changes: dict[str, Any], message: str
) -> None:
    set_config(folder, **changes)
    with pytest.raises(ConfigError, match=message):
        read(folder)


def test_an_adapter_of_another_model_names_the_tensor(
    read: Callable[[Path], LoadedAdapter], adapter_folder: Callable[..., Path]
) -> None:
    wider = adapter_folder(base={"hidden_size": 64})
    with pytest.raises(ConfigError, match=r"layers\.0\.\S+ is \(.*is the adapter of another model"):
        read(wider)
    deeper = adapter_folder(base={"num_hidden_layers": 3})
    with pytest.raises(ConfigError, match=r"layers\.2\.\S+ fits nothing in the base model"):
        read(deeper)


def test_a_missing_tensor_is_named(read: Callable[[Path], LoadedAdapter], folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop(Q0))
    with pytest.raises(ConfigError, match=f"missing tensor '{Q0}'"):
        read(folder)
    change_tensors(folder, lambda tensors: tensors.pop(Q0.replace("lora_A", "lora_B")))
    with pytest.raises(ConfigError, match=f"missing tensor '{Q0}'"):  # the config promised it
        read(folder)


def test_numbers_that_are_none_are_refused(
    read: Callable[[Path], LoadedAdapter], folder: Path
) -> None:
    change_tensors(folder, lambda tensors: tensors[Q0].fill_(float("nan")))
    with pytest.raises(ConfigError, match=f"'{Q0}' is not finite"):
        read(folder)


def test_files_that_are_missing_or_cut_are_named(
    read: Callable[[Path], LoadedAdapter], folder: Path
) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="adapter_model.safetensors is not a whole"):
        read(folder)
    weights.unlink()
    with pytest.raises(ConfigError, match="cannot read .*adapter_model.safetensors"):
        read(folder)
    (folder / "adapter_config.json").write_text("{")
    weights.touch()
    with pytest.raises(ConfigError, match="adapter_config.json is not JSON"):
        read(folder)


@pytest.mark.parametrize("alpha", [float("inf"), float("nan"), 1e40, -1e300])
def test_a_scale_that_makes_weights_infinite_is_refused(
    read: Callable[[Path], LoadedAdapter], folder: Path, alpha: float
) -> None:
    change_tensors(folder, lambda tensors: [t.fill_(1.0) for t in tensors.values()])
    set_config(folder, lora_alpha=alpha)
    with pytest.raises(ConfigError, match="finite"):
        read(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"r": float("inf")},
        {"r": 10**400},
        {"lora_alpha": 10**400},
        {"alpha_pattern": {"q_proj": float("inf")}},
        {"rank_pattern": {"(": 4}},
        {"r": -1},
        {"r": []},
    ],
)
def test_numbers_and_patterns_that_are_none_are_refused_by_file(
    read: Callable[[Path], LoadedAdapter], folder: Path, changes: dict[str, Any]
) -> None:
    set_config(folder, **changes)
    with pytest.raises(ConfigError, match="adapter_"):
        read(folder)


@pytest.mark.usefixtures("no_collection")
def test_a_config_of_endless_brackets_is_no_json(
    read: Callable[[Path], LoadedAdapter], folder: Path
) -> None:
    (folder / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is not JSON"):
        read(folder)
