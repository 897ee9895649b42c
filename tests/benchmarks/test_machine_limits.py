"""What the limits say of a model whose sizes are easy to count."""

import pytest

from backends.llm.model.config import ModelConfig
from benchmarks.machine_limits import Limits, least_seconds, shares

LIMITS = Limits(float32_gflop_s=100, bfloat16_gflop_s=0, int8_gop_s=400, read_gb_s=20)


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig(
        vocab_size=1000,
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        max_positions=4096,
        rms_eps=1e-5,
        rope_theta=1e4,
        tied_embeddings=True,
        qkv_bias=False,
    )


def test_a_decode_of_one_reads_all_weights(config: ModelConfig) -> None:
    least = least_seconds(config, LIMITS, "int8", weight_bytes=20e9)
    assert least["decode_1_tok_s"] == pytest.approx(1.0)
    assert least["decode_8_tok_s"] == pytest.approx(1 / 8)


def test_a_prefill_pays_for_products_and_attention(config: ModelConfig) -> None:
    linear = 2 * (64 * 128 + 64 * 64 + 3 * 64 * 128)  # multiply-adds of a token
    products_s = (2 * linear * 1024 + 2 * 64_000) / 400e9
    attention_s = 4 * (1024 * 1024 / 2) * 64 * 2 / 100e9
    least = least_seconds(config, LIMITS, "int8", weight_bytes=1)
    assert least["prefill_1024_tok_s"] == pytest.approx((products_s + attention_s) / 1024)
    slower = least_seconds(config, LIMITS, "float32", weight_bytes=1)
    assert slower["prefill_1024_tok_s"] == pytest.approx((4 * products_s + attention_s) / 1024)


def test_a_share_is_one_where_a_row_reaches_the_limit(config: ModelConfig) -> None:
    least = least_seconds(config, LIMITS, "int8", weight_bytes=1e6)
    reached = {row: s if row == "ttft_cached_s" else 1 / s for row, s in least.items()}
    facts = {"dtype": "int8", "weight_mb": 1.0}
    assert shares(config, LIMITS, facts, reached) == pytest.approx(dict.fromkeys(least, 1.0))
