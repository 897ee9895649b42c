"""A GGUF file exported as a Hugging Face folder is the same model to us and to transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_gguf import write_gguf

from backends.errors import ConfigError
from backends.llm.export import export_model
from backends.llm.loader import open_model

CPU = torch.device("cpu")


@pytest.fixture
def gguf_of(tiny_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    def make(arch: str = "llama", factors: bool = False, **changes: Any) -> Path:
        folder = tiny_folder(arch, **changes)
        config = open_model(folder).config
        write_gguf(folder, tmp_path / "m.gguf", arch, config, factors=factors)
        return tmp_path / "m.gguf"

    return make


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_the_folder_holds_the_same_model(
    gguf_of: Callable[..., Path], tmp_path: Path, arch: str, tied: bool
) -> None:
    source = gguf_of(arch, tie_word_embeddings=tied)
    folder = export_model(source, tmp_path / "out" / "folder")
    before, after = open_model(source), open_model(folder)
    old, new = (model.load(torch.float32, CPU) for model in (before, after))
    assert after.config == before.config
    assert after.template == before.template
    assert after.tokenizer.eos_ids == before.tokenizer.eos_ids
    assert after.tokenizer.to_json() == before.tokenizer.to_json()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert not list(folder.parent.glob("*.part"))


def test_transformers_continues_as_our_engine_does(
    gguf_of: Callable[..., Path],
    tmp_path: Path,
    oracle_tokens: Callable[..., list[int]],
) -> None:
    from transformers import AutoTokenizer

    source = gguf_of()
    folder = export_model(source, tmp_path / "folder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours = open_model(source).tokenizer
    text = "héllo <|im_end|> 42"
    assert tokenizer(text)["input_ids"] == ours.encode_markup(text)
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
    )
    assert tokenizer.eos_token_id == 258
    assert len(oracle_tokens(folder, ours.encode_text("hello"), 8)) == 8


def test_bfloat16_halves_the_weights(gguf_of: Callable[..., Path], tmp_path: Path) -> None:
    folder = export_model(gguf_of(), tmp_path / "folder", "bfloat16")
    tensors = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_folder_with_something_in_it_is_left_alone(
    gguf_of: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="folder is not empty; name a new folder"):
        export_model(gguf_of(), tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["notes.txt"]


def test_only_gguf_files_are_exported(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder already"):
        export_model(tiny_folder(), tmp_path / "out")
    with pytest.raises(ConfigError, match="is no GGUF file"):
        export_model(tiny_folder() / "config.json", tmp_path / "out")


def test_rotary_factors_that_no_config_can_name_are_refused(
    gguf_of: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="rotary scaling as a tensor"):
        export_model(gguf_of(factors=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.model
def test_the_exported_default_model_continues_in_transformers_as_here(
    smollm: Any,
    smollm_path: Path,
    tmp_path: Path,
    oracle_tokens: Callable[..., list[int]],
    greedily: Callable[..., list[list[int]]],
) -> None:
    from transformers import AutoTokenizer

    prompts = ["The capital of France is", "def fibonacci(n):\n"]
    folder = export_model(smollm_path, tmp_path / "folder")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    assert ids == [smollm.tokenizer.encode_text(prompt) for prompt in prompts]
    expected = [oracle_tokens(folder, prompt, 24) for prompt in ids]
    assert greedily(smollm.driver(stops=False), prompts, 24) == expected
