"""What a model is, read from GGUF metadata or a Hugging Face config.json.

Whatever this engine would compute wrongly (another architecture, rope type, a sliding window) is
a ConfigError here and never reaches the model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backends.errors import ConfigError
from backends.llm.model.dtypes import DType, dtype_bytes

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
}
GGUF_ARCHITECTURES = ("llama", "qwen2")
ROPE_TYPES = ("default", "linear", "llama3")


_MOST = {  # sizes beyond those of any model: a damaged file, which would take all memory
    "num_layers": 1 << 10,
    "hidden_size": 1 << 17,
    "intermediate_size": 1 << 20,
    "num_heads": 1 << 10,
    "num_kv_heads": 1 << 10,
    "head_dim": 1 << 12,
    "vocab_size": 1 << 22,
    "max_positions": 1 << 28,
}


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the length the model was first trained on."""

    kind: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0  # llama3 only, as are the two below
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192

    def __post_init__(self) -> None:
        for name in ("factor", "low_freq_factor", "high_freq_factor", "original_max_positions"):
            _check_positive(f"rope scaling's {name}", getattr(self, name))
        if self.low_freq_factor == self.high_freq_factor:
            raise ConfigError("rope scaling's low_freq_factor and high_freq_factor are equal")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The sizes and switches of one Llama-family model."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    rms_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool = False
    tied_embeddings: bool = False

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise ConfigError(f"the model says {name} = {value}; it must lie in 1 to {most}")
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"the model says {self.num_heads} query heads, which do not divide over "
                f"{self.num_kv_heads} KV heads"
            )
        if self.head_dim % 2:
            raise ConfigError(f"half rotation needs an even head size, not {self.head_dim}")
        for name in ("rms_eps", "rope_theta"):
            _check_positive(name, getattr(self, name))


def from_gguf(metadata: Mapping[str, Any], names: frozenset[str]) -> ModelConfig:
    """The config of a GGUF file with tensors `names`. Raises ConfigError for what we lack."""
    arch = metadata.get("general.architecture")
    if arch not in GGUF_ARCHITECTURES:
        raise _unsupported("GGUF architecture", arch, GGUF_ARCHITECTURES)

    def get(key: str, default: Any = None) -> Any:
        return metadata.get(f"{arch}.{key}", default)

    if get("expert_count", 0):
        raise ConfigError("this GGUF is a mixture of experts; only dense models are supported")
    num_heads = int(get("attention.head_count"))
    hidden_size = int(get("embedding_length"))
    head_dim = int(get("attention.key_length", hidden_size // num_heads))
    rope_dim = int(get("rope.dimension_count", head_dim))
    if rope_dim != head_dim:
        raise ConfigError(f"partial rotation ({rope_dim} of {head_dim} dimensions) is unsupported")
    max_positions = int(get("context_length"))
    _check_sliding_window(get("attention.sliding_window"), max_positions)
    return ModelConfig(
        num_layers=int(get("block_count")),
        hidden_size=hidden_size,
        intermediate_size=int(get("feed_forward_length")),
        num_heads=num_heads,
        num_kv_heads=int(get("attention.head_count_kv", num_heads)),
        head_dim=head_dim,
        vocab_size=int(get("vocab_size", len(metadata.get("tokenizer.ggml.tokens", ())))),
        max_positions=max_positions,
        rms_eps=float(get("attention.layer_norm_rms_epsilon")),
        rope_theta=float(get("rope.freq_base", 10000.0)),
        rope_scaling=_gguf_scaling(get("rope.scaling.type"), get("rope.scaling.factor", 1.0)),
        qkv_bias="blk.0.attn_q.bias" in names,
        tied_embeddings="output.weight" not in names,
    )


def from_hf(raw: Mapping[str, Any]) -> ModelConfig:
    """The config of a Hugging Face config.json. Raises ConfigError for what we lack."""
    names = raw.get("architectures") or ["(none)"]
    arch = ARCHITECTURES.get(names[0])
    if arch is None:
        raise _unsupported("architecture", names[0], tuple(ARCHITECTURES))
    if raw.get("hidden_act", "silu") != "silu":
        raise _unsupported("hidden_act", raw["hidden_act"], ("silu",))
    for switch in ("attention_bias", "mlp_bias"):
        if arch == "llama" and raw.get(switch):
            raise ConfigError(f"{switch}=true is not supported for {names[0]}")
    max_positions = int(raw["max_position_embeddings"])
    if raw.get("use_sliding_window", arch != "qwen2"):
        _check_sliding_window(raw.get("sliding_window"), max_positions)
    num_heads = int(raw["num_attention_heads"])
    rope = raw.get("rope_parameters") or {}
    turned = rope.get("partial_rotary_factor", raw.get("partial_rotary_factor", 1.0))
    if turned != 1:
        raise ConfigError(f"partial rotation ({turned} of the dimensions) is unsupported")
    return ModelConfig(
        num_layers=int(raw["num_hidden_layers"]),
        hidden_size=int(raw["hidden_size"]),
        intermediate_size=int(raw["intermediate_size"]),
        num_heads=num_heads,
        num_kv_heads=int(raw.get("num_key_value_heads") or num_heads),
        head_dim=int(raw.get("head_dim") or raw["hidden_size"] // num_heads),
        vocab_size=int(raw["vocab_size"]),
        max_positions=max_positions,
        rms_eps=float(raw.get("rms_norm_eps", 1e-6)),
        rope_theta=float(rope.get("rope_theta", raw.get("rope_theta", 10000.0))),
        rope_scaling=_hf_scaling(raw.get("rope_scaling") or rope, max_positions),
        qkv_bias=arch == "qwen2",
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
    )


def to_hf(config: ModelConfig) -> dict[str, Any]:
    """The config.json that `from_hf` reads back: what the tensors are, without the tokenizer's."""
    family = "qwen2" if config.qkv_bias else "llama"
    return {
        "architectures": ["Qwen2ForCausalLM" if config.qkv_bias else "LlamaForCausalLM"],
        "model_type": family,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.rms_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": _scaling_to_hf(config.rope_scaling),
        "tie_word_embeddings": config.tied_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    }


def _scaling_to_hf(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    if scaling.kind == "linear":
        return {"rope_type": "linear", "factor": scaling.factor}
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_max_positions,
    }


def _gguf_scaling(kind: str | None, factor: float) -> RopeScaling | None:
    # llama3 scaling is not named in GGUF: it comes as the tensor `rope_freqs.weight`.
    if kind in (None, "none"):
        return None
    if kind != "linear":
        raise _unsupported("rope scaling type", kind, ("none", "linear"))
    return RopeScaling("linear", float(factor))


def _hf_scaling(raw: Mapping[str, Any], max_positions: int) -> RopeScaling | None:
    kind = raw.get("rope_type", raw.get("type", "default"))
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling("linear", float(raw["factor"]))
    if kind != "llama3":
        raise _unsupported("rope type", kind, ROPE_TYPES)
    return RopeScaling(
        "llama3",
        factor=float(raw["factor"]),
        low_freq_factor=float(raw["low_freq_factor"]),
        high_freq_factor=float(raw["high_freq_factor"]),
        original_max_positions=int(raw.get("original_max_position_embeddings", max_positions)),
    )


def _check_sliding_window(window: int | None, max_positions: int) -> None:
    if window and window < max_positions:
        raise ConfigError(
            f"this model attends through a sliding window of {window} tokens; "
            "only full attention is supported"
        )


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigError(f"the model says {name} = {value}; it must be a finite number above 0")


def _unsupported(what: str, value: object, supported: tuple[str, ...]) -> ConfigError:
    return ConfigError(f"{what} {value!r} is not supported; supported: {', '.join(supported)}")


def bytes_per_token(config: ModelConfig, dtype: DType) -> int:
    """What one token's keys and values take over all layers."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * dtype_bytes(dtype)
