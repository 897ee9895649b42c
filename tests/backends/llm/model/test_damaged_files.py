"""Wrong sizes, counts and paths in a model's files are refused by name, before memory is taken."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_gguf import write_gguf

from backends.errors import ConfigError, EngineUnavailable
from backends.llm.loader import ModelOnDisk, open_model

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_folder(), tmp_path / "model"))


@pytest.fixture
def gguf_path(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    config = open_model(tiny_folder()).config
    write_gguf(tiny_folder(), tmp_path / "m.gguf", "llama", config, factors=False)
    return tmp_path / "m.gguf"


def load(path: Path) -> ModelOnDisk:
    found = open_model(path)
    found.load(torch.float32, CPU)
    return found


@pytest.mark.parametrize("place", ["../outside.safetensors", "{out}/outside.safetensors", ".."])
def test_an_index_may_not_lead_out_of_its_folder(folder: Path, place: str) -> None:
    weights = (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    where = place.format(out=weights.parent)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": where}}))
    with pytest.raises(EngineUnavailable, match=r"index\.json names .*no file of its folder"):
        load(folder)


@pytest.mark.parametrize("content", ["[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "{"])
def test_an_index_that_is_none_is_named(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(EngineUnavailable, match=r"index\.json"):
        load(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": -1},
        {"num_attention_heads": 0},
        {"num_key_value_heads": 3},
        {"head_dim": 7},
        {"vocab_size": 10**12},
        {"rms_norm_eps": float("nan")},
        {"rms_norm_eps": None},
        {"hidden_size": "many"},
        {"max_position_embeddings": float("inf")},
        {"architectures": 5},
        {"rope_scaling": {"rope_type": "linear", "factor": 0}},
        {"rope_parameters": {"rope_theta": -1.0}},
    ],
)
def test_sizes_that_no_model_has_are_refused_with_the_file(
    folder: Path, changes: dict[str, Any]
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises((ConfigError, EngineUnavailable), match=r"config\.json"):
        load(folder)


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_json_file_of_anything_else_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises((ConfigError, EngineUnavailable), match=name):
        load(folder)


def test_weights_cut_at_any_place_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(EngineUnavailable, match=r"model\.safetensors"):
            load(folder)


def test_a_gguf_cut_at_any_place_is_named(gguf_path: Path) -> None:
    whole = gguf_path.read_bytes()
    for size in (0, 3, 8, 24, 100, 5000, len(whole) // 2, len(whole) - 1):
        gguf_path.write_bytes(whole[:size])
        with pytest.raises(EngineUnavailable, match=r"m\.gguf"):
            load(gguf_path)


@pytest.mark.parametrize("count", [1 << 63, 1 << 40, 1 << 30])
@pytest.mark.parametrize("at", [8, 16])  # of tensors, of metadata entries
def test_a_count_beyond_the_file_is_refused_at_once(gguf_path: Path, at: int, count: int) -> None:
    content = bytearray(gguf_path.read_bytes())
    struct.pack_into("<Q", content, at, count)
    gguf_path.write_bytes(content)
    with pytest.raises(EngineUnavailable, match=r"m\.gguf.*more than fit the file"):
        load(gguf_path)


@pytest.mark.parametrize("dim", [0, 1 << 62, 1 << 20])
def test_a_tensor_that_cannot_be_in_the_file_is_refused(gguf_path: Path, dim: int) -> None:
    content = bytearray(gguf_path.read_bytes())
    name = b"blk.0.attn_q.weight"
    at = content.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + 4
    struct.pack_into("<Q", content, at, dim)
    gguf_path.write_bytes(content)
    with pytest.raises(EngineUnavailable, match=r"m\.gguf.*blk\.0\.attn_q\.weight"):
        load(gguf_path)


def test_factors_of_another_head_size_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    tensors["rope_freqs.weight"] = torch.ones(1)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(EngineUnavailable, match=r"'rope_freqs\.weight' is \(1,\), expected \(4,\)"):
        load(folder)
