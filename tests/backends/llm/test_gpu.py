"""The same tokens on CUDA, and bfloat16 close to float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
PROMPTS = ("The quick brown fox", "x", "An owl! " * 12)


def greedy(driver: Any) -> list[str]:
    prefills = driver.run(*(driver.submit("prefill", None, p) for p in PROMPTS))
    ids = [driver.submit("decode", p.outputs[0], max_tokens=40) for p in prefills]
    return [result.outputs[0] for result in driver.run(*ids)]


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_cuda_float32_gives_the_tokens_of_the_cpu(load_tiny: Callable[..., Any], arch: str) -> None:
    on_cpu = greedy(load_tiny(arch).driver(stops=False, token_budget=48))
    on_cuda = greedy(load_tiny(arch, "cuda").driver(stops=False, token_budget=48))
    assert on_cuda == on_cpu


@pytest.mark.model
def test_smollm_on_cuda_gives_the_tokens_of_the_cpu(smollm: Any) -> None:
    on_cuda = smollm.moved("cuda")
    assert greedy(on_cuda.driver(stops=False)) == greedy(smollm.driver(stops=False))
