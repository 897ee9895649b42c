"""Which model a CUDA device gets."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from backends.llm.model.cuda import open_cuda as opening
from backends.llm.model.cuda.open_cuda import open_cuda
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.options import LLMOptions


def opened(load_tiny: Callable[..., Any], device: torch.device, **options: Any) -> Any:
    found = load_tiny().found
    return open_cuda(found.config, found.load(torch.float32, device), LLMOptions(**options))


def test_the_triton_kernels_run_where_triton_is(
    load_tiny: Callable[..., Any], device: torch.device
) -> None:
    from backends.llm.model.cuda.cuda_model import CudaModel

    model = opened(load_tiny, device, max_running=3, token_budget=100)
    assert isinstance(model, CudaModel)
    assert (model.limits.max_running, model.limits.token_budget) == (3, 100)


def test_the_torch_model_is_there_for_those_who_ask(
    load_tiny: Callable[..., Any], device: torch.device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(opened(load_tiny, device, kernels="torch"), LlamaModel)
    assert not capsys.readouterr().err


def test_without_triton_a_line_says_that_the_slow_path_runs(
    load_tiny: Callable[..., Any],
    device: torch.device,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda _: None)
    assert isinstance(opened(load_tiny, device), LlamaModel)
    assert "pip install triton" in capsys.readouterr().err
