"""A GGUF file written from a Hugging Face folder loads as the same model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_gguf import write_gguf

from backends.llm.loader import open_model
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.weights import ROPE_FACTORS

CPU = torch.device("cpu")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_a_gguf_file_loads_as_the_folder_it_was_written_from(
    tiny_folder: Callable[..., Path], tmp_path: Path, arch: str, tied: bool
) -> None:
    folder = tiny_folder(arch, tie_word_embeddings=tied)
    original = open_model(folder)
    write_gguf(folder, tmp_path / "m.gguf", arch, original.config, factors=False)
    found = open_model(tmp_path / "m.gguf")
    weights, expected = (m.load(torch.float32, CPU) for m in (found, original))
    assert found.config.rms_eps == pytest.approx(original.config.rms_eps)
    assert found.config.qkv_bias == (arch == "qwen2")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert found.tokenizer.eos_ids == (258,)
    assert found.template == "{{ messages[0]['content'] }}"


def test_rope_factors_and_bfloat16_are_loaded(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    original = open_model(tiny_folder())
    write_gguf(tiny_folder(), tmp_path / "m.gguf", "llama", original.config, factors=True)
    weights = open_model(tmp_path / "m.gguf").load(torch.bfloat16, CPU)
    assert weights[ROPE_FACTORS].dtype == torch.float32
    assert weights["model.norm.weight"].dtype == torch.bfloat16


def test_the_kernels_load_rope_factors_of_a_mapped_file_without_a_warning(
    tiny_folder: Callable[..., Path], tmp_path: Path, isa: str
) -> None:
    folder = tiny_folder(hidden_size=64)  # heads of 16
    write_gguf(folder, tmp_path / "m.gguf", "llama", open_model(folder).config, factors=True)
    found = open_model(tmp_path / "m.gguf")
    model = NativeModel(found.config, found.source(), torch.float32, isa=isa)
    assert model.weight_bytes > 0
