"""KV of the C++ kernels goes down a tier and comes back in its own layout."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from backends.base import Request, Result
from backends.llm.core import LLMCore
from backends.llm.loader import load_core, native_obstacle, open_model
from backends.llm.options import LLMOptions

TEXT = "the owl sat in the old oak and said nothing at all "
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}


def call(core: LLMCore, request_id: int, op: str, *inputs: object, **attrs: object) -> Result:
    core.add(Request(f"{request_id:032x}", op, inputs, attrs))
    while True:
        for _, outcome in core.step():
            assert isinstance(outcome, Result), outcome
            return outcome
        core.check_integrity()


def test_a_session_of_the_native_model_resumes_after_a_restart(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_folder("llama", **SIZES)
    options = LLMOptions(kernels="native", dtype="float32", kv_tokens=256, disk_kv=str(tmp_path))
    obstacle = native_obstacle(open_model(folder).config, options, torch.device("cpu"))
    if obstacle is not None:
        pytest.skip(f"no native kernels: {obstacle}")
    texts, cached = [], []
    for _ in range(2):
        core = load_core(folder, options)
        prefill = call(core, 1, "prefill", None, TEXT * 3)
        texts.append(call(core, 2, "decode", prefill.outputs[0], max_tokens=12).outputs[0])
        cached.append(prefill.usage.cached_tokens)
        core.close()
    assert texts[0] == texts[1]
    assert cached == [0, 144]
