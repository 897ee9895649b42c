"""A GGUF file as llama.cpp's converter would write it from a Hugging Face folder."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer

from backends.llm.model.config import ModelConfig
from backends.llm.model.weights import ROPE_FACTORS

BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def permuted(values: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """As llama.cpp's converter does for llama."""
    shape = (num_heads, 2, values.shape[0] // num_heads // 2, *values.shape[1:])
    return values.reshape(shape).swapaxes(1, 2).reshape(values.shape)


def gguf_name(name: str) -> str:
    if name in TOP:
        return TOP[name]
    _, _, layer, rest = name.split(".", 3)
    block, suffix = rest.rsplit(".", 1)
    return f"blk.{layer}.{BLOCK[block]}.{suffix}"


def write_gguf(folder: Path, target: Path, arch: str, config: ModelConfig, factors: bool) -> None:
    writer = gguf.GGUFWriter(target, arch)
    writer.add_block_count(config.num_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_context_length(config.max_positions)
    writer.add_layer_norm_rms_eps(config.rms_eps)
    writer.add_rope_freq_base(config.rope_theta)
    write_tokenizer(writer, folder)
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.numpy()
        if arch == "llama" and ".q_proj." in name:
            values = permuted(values, config.num_heads)
        if arch == "llama" and ".k_proj." in name:
            values = permuted(values, config.num_kv_heads)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(values))
    if factors:
        writer.add_tensor(ROPE_FACTORS, np.linspace(1, 8, config.head_dim // 2, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tokenizer(writer: Any, folder: Path) -> None:
    vocab = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
    tokens = sorted(vocab, key=lambda token: vocab[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_eos_token_id(258)
    writer.add_chat_template("{{ messages[0]['content'] }}")
