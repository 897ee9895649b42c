"""Variants of the architecture against transformers, on random models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
PROMPTS = ("The quick brown fox", "x", "An owl! " * 12, "Numbers 1 2 3 4 5 6 7 8 9 and more " * 6)


@pytest.mark.parametrize("page_size", [1, 16])
@pytest.mark.parametrize(
    ("arch", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
        ("llama", {"head_dim": 16, "num_key_value_heads": 1}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"rope_parameters": LINEAR}),
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": True}),
    ],
    ids=["llama", "tied-mha", "mqa", "llama3-rope", "linear-rope", "qwen2-bias", "qwen2-tied"],
)
def test_greedy_tokens_equal_transformers(
    tiny_folder: Callable[..., Path],
    load_tiny: Callable[..., Any],
    oracle_tokens: Callable[..., list[int]],
    greedily: Callable[..., list[list[int]]],
    arch: str,
    changes: dict[str, Any],
    page_size: int,
) -> None:
    loaded = load_tiny(arch, **changes)
    driver = loaded.driver(stops=False, page_size=page_size, token_budget=48)
    found = greedily(driver, PROMPTS, 40)
    for prompt, tokens in zip(PROMPTS, found, strict=True):
        ids = loaded.tokenizer.encode_text(prompt)
        assert tokens == oracle_tokens(tiny_folder(arch, **changes), ids, 40)


def test_rope_factors_of_a_gguf_equal_llama3_scaling(load_tiny: Callable[..., Any]) -> None:
    from backends.llm.model.rope import base_frequencies
    from backends.llm.model.torch_model.rotary import Rope

    config = load_tiny("llama", rope_parameters=LLAMA3).found.config
    scaled = Rope(config, torch.device("cpu"))
    base = torch.from_numpy(base_frequencies(config.head_dim, config.rope_theta))
    plain = load_tiny().found.config
    factors = base / scaled._frequencies
    given = Rope(plain, torch.device("cpu"), factors)
    positions = torch.arange(200)
    assert torch.allclose(given.angles(positions)[0], scaled.angles(positions)[0], atol=1e-5)


def first_logits(driver: Any, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Logits [V] of the token after a prompt."""
    seen: list[torch.Tensor] = []
    model = driver.core.model
    launch = model.launch

    def record(*args: Any) -> Any:
        launched = launch(*args)
        if (logits := launched.collect().logits) is not None:
            seen.append(logits.clone())
        return launched

    with monkeypatch.context() as patch:
        patch.setattr(model, "launch", record)
        driver.decode(driver.prefill(None, PROMPTS[2]), max_tokens=1, logprobs=0)
    return seen[0][0]


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_bfloat16_is_close_to_float32(
    load_tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, arch: str
) -> None:
    loaded = load_tiny(arch)
    exact = first_logits(loaded.driver(), monkeypatch)
    rounded = first_logits(loaded.moved(dtype=torch.bfloat16).driver(), monkeypatch)
    assert rounded.dtype == torch.float32
    assert float((exact - rounded).norm() / exact.norm()) < 0.05
