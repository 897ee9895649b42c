"""The same tokens with adapters on CUDA as on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    # PEFT asks transformers by a name that is going away.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
PROMPTS = ("The quick brown fox", "x", "An owl! " * 12)


def greedy(driver: Any, folders: list[Path]) -> list[str]:
    names = [None, *map(str, range(len(folders)))]
    for name, folder in zip(names[1:], folders, strict=True):
        driver.core.load_adapter(name, folder)
    attrs = [{} if name is None else {"adapter": name} for name in names]
    jobs = [(prompt, given) for prompt in PROMPTS for given in attrs]
    prefills = driver.run(*(driver.submit("prefill", None, p, **given) for p, given in jobs))
    ids = [driver.submit("decode", p.outputs[0], max_tokens=40) for p in prefills]
    return [result.outputs[0] for result in driver.run(*ids)]


def test_cuda_float32_gives_the_tokens_of_the_cpu(
    load_tiny: Callable[..., Any], adapter_folder: Callable[..., Path]
) -> None:
    folders = [adapter_folder(seed) for seed in (1, 2)]
    on_cpu = greedy(load_tiny().driver(stops=False, token_budget=48), folders)
    on_cuda = greedy(load_tiny(device="cuda").driver(stops=False, token_budget=48), folders)
    assert on_cuda == on_cpu
