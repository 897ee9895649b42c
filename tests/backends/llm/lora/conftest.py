"""Random adapters as PEFT saves them, and PEFT's own greedy tokens."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.fixture(scope="session")
def adapter_folder(
    tiny_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Makes a PEFT folder of a random adapter on all linear layers of a tiny model."""
    made: dict[str, Path] = {}

    def make(seed: int = 0, arch: str = "llama", base: Any = None, **config: Any) -> Path:
        key = json.dumps((seed, arch, base, config), sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("adapter")
            save_random(made[key], tiny_folder(arch, **(base or {})), seed, config)
        return made[key]

    return make


def save_random(folder: Path, base: Path, seed: int, config: dict[str, Any]) -> None:
    import peft

    model = peft.get_peft_model(
        _base(base), peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ALL, **config})
    )
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            number = hashlib.sha256(f"{seed} {name}".encode()).digest()[:4]
            rng = torch.Generator().manual_seed(int.from_bytes(number, "little"))
            torch.nn.init.normal_(parameter, std=0.2, generator=rng)
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def peft_greedy() -> Callable[..., list[int]]:
    """New tokens of `ids` by PEFT; without an adapter by the base model."""

    def greedy(base: Path, adapter: Path | None, ids: list[int], num_new: int) -> list[int]:
        import peft

        model = _base(base)
        if adapter is not None:
            model = peft.PeftModel.from_pretrained(model, adapter)
        return generate(model, ids, num_new)

    return greedy


def _base(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    return model


def generate(model: Any, ids: list[int], num_new: int) -> list[int]:
    tokens = torch.tensor([ids])
    with torch.no_grad():
        out = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=num_new,
            do_sample=False,
        )
    new: list[int] = out[0, len(ids) :].tolist()
    return new
