"""Configs and weights: what is read, and what is refused with its name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from backends.errors import ConfigError, EngineUnavailable
from backends.llm.loader import kv_identity, load_model, numerics_of, open_model, pick_device
from backends.llm.model.config import from_gguf, from_hf
from backends.llm.model.native.native_model import why_not
from backends.llm.options import LLMOptions
from backends.native.library import has_bfloat16

HF: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 4096,
    "rope_theta": 5e5,
}
GGUF: dict[str, Any] = {
    "general.architecture": "qwen2",
    "qwen2.block_count": 2,
    "qwen2.embedding_length": 64,
    "qwen2.feed_forward_length": 128,
    "qwen2.attention.head_count": 4,
    "qwen2.attention.head_count_kv": 2,
    "qwen2.attention.layer_norm_rms_epsilon": 1e-6,
    "qwen2.context_length": 4096,
    "tokenizer.ggml.tokens": ["a"] * 100,
}
CPU = torch.device("cpu")


def test_a_gguf_and_an_hf_config_say_the_same() -> None:
    config = from_gguf(GGUF, frozenset(["output.weight", "blk.0.attn_q.bias"]))
    raw = {**HF, "architectures": ["Qwen2ForCausalLM"], "rope_theta": 10000.0}
    assert config == from_hf(raw)
    assert config.qkv_bias
    assert not config.tied_embeddings


def test_rope_is_read_from_old_and_new_files() -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    old = from_hf({**HF, "rope_scaling": scaling})
    new = from_hf({**HF, "rope_parameters": {**scaling, "rope_theta": 5e5}})
    assert old == new
    assert old.rope_theta == 5e5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GemmaForCausalLM"]}, "'GemmaForCausalLM' is not supported; .*Llama"),
        ({"rope_scaling": {"type": "yarn", "factor": 2}}, "'yarn'.*default, linear, llama3"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2}}, "'dynamic'"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "'longrope'"),
        ({"partial_rotary_factor": 0.5}, r"partial rotation \(0.5 of the dimensions\)"),
        ({"rope_parameters": {"partial_rotary_factor": 0.25}}, r"partial rotation \(0.25"),
        ({"sliding_window": 1024, "architectures": ["MistralForCausalLM"]}, "window of 1024"),
        (
            {
                "sliding_window": 1024,
                "use_sliding_window": True,
                "architectures": ["Qwen2ForCausalLM"],
            },
            "window of 1024",
        ),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "'gelu'"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_hf({**HF, **changes})


def test_a_sliding_window_that_is_not_in_use_is_no_obstacle() -> None:
    qwen = {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 1024}
    unused = from_hf({**HF, **qwen, "use_sliding_window": False})
    absent = from_hf({**HF, "architectures": ["MistralForCausalLM"], "sliding_window": None})
    assert unused.max_positions == absent.max_positions == HF["max_position_embeddings"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.architecture": "gemma3"}, "'gemma3' is not supported; supported: llama, qwen2"),
        ({"qwen2.expert_count": 8}, "mixture of experts"),
        ({"qwen2.rope.scaling.type": "yarn"}, "'yarn'"),
        ({"qwen2.rope.dimension_count": 8}, "partial rotation"),
        ({"qwen2.attention.sliding_window": 512}, "window of 512"),
    ],
)
def test_gguf_files_beyond_us_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_gguf({**GGUF, **changes}, frozenset())


def copy_of(folder: Path, target: Path) -> Path:
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_sharded_folder_equals_a_single_file(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copy_of(tiny_folder(), tmp_path)
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, mine in shards.items():
        save_file({name: weights[name] for name in mine}, folder / shard)
    index = {"weight_map": {name: shard for shard, mine in shards.items() for name in mine}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    loaded = open_model(folder).load(torch.float32, CPU)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in names)


def test_a_missing_tensor_is_named(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy_of(tiny_folder(), tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(EngineUnavailable, match=r"missing tensor 'model.layers.1.mlp.up_proj"):
        open_model(folder).load(torch.float32, CPU)


def test_an_unexpected_tensor_is_named(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy_of(tiny_folder(), tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.q_norm.weight"] = torch.ones(8)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(EngineUnavailable, match=r"unexpected tensor .*q_norm"):
        open_model(folder).load(torch.float32, CPU)


def test_a_tensor_of_another_shape_is_named(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = copy_of(tiny_folder(), tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(7)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(EngineUnavailable, match=r"'model.norm.weight' is \(7,\), expected \(32,\)"):
        open_model(folder).load(torch.float32, CPU)


def test_a_cut_weight_file_is_named(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy_of(tiny_folder(), tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EngineUnavailable, match=r"cannot read weights .*model.safetensors"):
        open_model(folder).load(torch.float32, CPU)


def test_folders_and_files_that_are_no_model_say_so(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"no config\.json"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(EngineUnavailable, match="damaged or incomplete"):
        open_model(tmp_path)
    (tmp_path / "broken.gguf").write_bytes(b"not a gguf file")
    with pytest.raises(EngineUnavailable, match="cannot read GGUF"):
        open_model(tmp_path / "broken.gguf")
    with pytest.raises(EngineUnavailable, match="no model at"):
        open_model(tmp_path / "nothing")


def test_dtype_and_device_are_settled_by_what_is_here(tiny: Any) -> None:
    found = tiny.found  # its heads are too narrow for the CPU kernels
    assert numerics_of(found, LLMOptions(), CPU) == "float32"
    assert numerics_of(found, LLMOptions(dtype="bfloat16"), CPU) == "bfloat16"
    assert numerics_of(found, LLMOptions(), torch.device("cuda")) == "bfloat16"
    wide = replace(found, config=replace(found.config, head_dim=16))
    runs = why_not(wide.config, page_size=16) is None
    fast = runs and has_bfloat16()
    assert numerics_of(wide, LLMOptions(), CPU) == ("bfloat16" if fast else "float32")
    blocks = replace(wide, has_blocks=True)
    assert numerics_of(blocks, LLMOptions(), CPU) == ("int8" if runs else "float32")
    assert numerics_of(blocks, LLMOptions(weights="full"), CPU) != "int8"
    assert pick_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="unknown"):
        pick_device("abacus")


def test_an_int8_that_cannot_be_is_refused_with_the_reason(tiny: Any) -> None:
    wide = replace(tiny.found, config=replace(tiny.found.config, head_dim=16))
    if why_not(wide.config, page_size=16) is not None:
        pytest.skip("no kernels here")
    with pytest.raises(ConfigError, match="needs a GGUF file with Q4_0, Q4_1 or Q8_0"):
        load_model(wide, LLMOptions(dtype="int8"), CPU)
    blocks = replace(wide, has_blocks=True)
    assert numerics_of(blocks, LLMOptions(dtype="int8", weights="stored"), CPU) == "int8"
    with pytest.raises(ConfigError, match="weights='full' unpacks"):
        load_model(blocks, LLMOptions(dtype="int8", weights="full"), CPU)
    with pytest.raises(ConfigError, match="native kernels: kernels='torch' was asked for"):
        load_model(blocks, LLMOptions(dtype="int8", kernels="torch"), CPU)
    with pytest.raises(ConfigError, match="needs dtype bfloat16 or int8"):
        load_model(blocks, LLMOptions(dtype="float32", weights="stored"), CPU)


def test_kv_on_disk_is_found_only_by_the_same_numerics(tiny: Any, tmp_path: Path) -> None:
    wide = replace(tiny.found, config=replace(tiny.found.config, head_dim=16), has_blocks=True)
    if why_not(wide.config, page_size=16) is not None:
        pytest.skip("no kernels here")
    names: tuple[Literal["auto", "float32", "bfloat16", "int8"], ...]
    names = ("auto", "float32", "bfloat16", "int8")
    keys = [kv_identity(tmp_path, wide, LLMOptions(dtype=name), CPU) for name in names]
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3


def test_every_instruction_set_runs_int8_and_bfloat16(
    tiny: Any, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEOLA_ISA", isa)
    wide = replace(tiny.found, config=replace(tiny.found.config, head_dim=16))
    assert why_not(wide.config, page_size=16) is None
    assert numerics_of(replace(wide, has_blocks=True), LLMOptions(), CPU) == "int8"
    fast = isa in ("avx512bf16", "neonbf16")
    assert numerics_of(wide, LLMOptions(), CPU) == ("bfloat16" if fast else "float32")
