"""The model for a CUDA device: on the Triton kernels where Triton is, else in torch."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from backends.llm.model.config import ModelConfig, bytes_per_token
from backends.llm.model.dtypes import Device
from backends.llm.model.step_model import StepModel
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.options import LLMOptions

_MOST_KV_TOKENS = 1 << 20
_SLOW = (
    "teola: the model runs in plain torch on this GPU, several times slower than it could: "
    "Triton is not installed; pip install triton"
)


def open_cuda(
    config: ModelConfig, weights: dict[str, Tensor], options: LLMOptions
) -> StepModel[Any]:
    """Takes the tensors out of `weights`. `kernels="torch"` asks for the torch model."""
    if options.kernels != "torch" and find_spec("triton") is not None:
        from backends.llm.model.cuda.cuda_model import CudaModel
        from backends.llm.model.cuda.runner import StepLimits

        return CudaModel(config, weights, StepLimits(options.max_running, options.token_budget))
    if options.kernels != "torch":
        print(_SLOW, file=sys.stderr, flush=True)
    return LlamaModel(config, weights)


def default_kv_tokens(models: Sequence[StepModel[Any]], page_size: int, device: Device) -> int:
    """Tokens of a pool for each model, all of one size, in the memory that is free."""
    if all(isinstance(model, LlamaModel) for model in models):
        a_token = sum(bytes_per_token(model.config, model.dtype) for model in models)
        return min(_MOST_KV_TOKENS, torch.cuda.mem_get_info(device)[0] // 2 // a_token)
    from backends.llm.model.cuda.cuda_model import kv_tokens_that_fit

    return min(_MOST_KV_TOKENS, kv_tokens_that_fit(models, page_size))
