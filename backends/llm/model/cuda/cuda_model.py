"""The model of a CUDA device, as the core sees it, and how much KV fits beside weights, graphs and
the activations of the largest step.

Adapters run in steps of their own kind: their deltas are products in torch, and no graph is used.
"""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import Floats, StepBatch
from backends.llm.model.config import ModelConfig, bytes_per_token
from backends.llm.model.cuda.kv_pool import CudaKVPool
from backends.llm.model.cuda.runner import CudaStep, Runner, StepLimits
from backends.llm.model.step_model import StepModel
from backends.llm.model.torch_model.llama import LlamaModel


class CudaPool(CudaKVPool):
    """KV memory, with what runs the steps that write to it."""

    def __init__(self, net: LlamaModel, num_pages: int, page_size: int, limits: StepLimits) -> None:
        super().__init__(net.config, num_pages + 1, page_size, net.dtype, net.device)
        self.runner = Runner(net, self, limits)


class CudaModel:
    """Takes the tensors out of `weights`. Not thread safe. On CPU tensors it runs where Triton
    interprets its kernels."""

    def __init__(self, config: ModelConfig, weights: dict[str, Tensor], limits: StepLimits) -> None:
        self.config = config
        self.limits = limits
        self._net = LlamaModel(config, weights)

    @property
    def device(self) -> torch.device:
        return self._net.device

    @property
    def dtype(self) -> torch.dtype:
        return self._net.dtype

    @property
    def layout(self) -> str:
        return f"triton {self.dtype} @ {torch.__version__} {triton.__version__}"

    def make_pool(self, num_pages: int, page_size: int) -> CudaPool:
        """The KV memory this model reads and writes; captures the graphs that write to it."""
        return CudaPool(self._net, num_pages, page_size, self.limits)

    @property
    def frequencies(self) -> Floats:
        return self._net.frequencies

    def read(
        self, kv: CudaPool, layer: int, pages: list[int], first: int, num_tokens: int
    ) -> tuple[Floats, Floats]:
        """Keys and values [T, K, D] of tokens `first` on."""
        return self._net.read(kv, layer, pages, first, num_tokens)

    def link(
        self,
        kv: CudaPool,
        pages: list[int],
        first: int,
        to_pages: list[int],
        to: int,
        num_tokens: int,
    ) -> None:
        """Copy tokens' KV to other places, keys turned by as many."""
        self._net.link(kv, pages, first, to_pages, to, num_tokens)

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        """What an adapter takes in memory."""
        return adapter.num_bytes

    @torch.inference_mode()
    def launch(self, batch: StepBatch, kv: CudaPool) -> CudaStep:
        """Queue a step on the device."""
        return kv.runner.launch(batch)


_SHARE = 0.9  # the rest: adapters, the sampler's temporaries, pages in transfer, fragments


def kv_tokens_that_fit(
    models: Sequence[StepModel[Any]], page_size: int, free_bytes: Callable[[], int] | None = None
) -> int:
    """Tokens of a pool for each of the models (a model and its draft), all of one size. Captures
    graphs and runs the largest step over tiny pools first, then asks what is free."""
    device = torch.device(models[0].device)
    pools = [model.make_pool(1, page_size) for model in models]
    for pool in pools:
        if isinstance(pool, CudaPool):
            pool.runner.run_largest()
    free = (free_bytes or (lambda: _free_on(device)))()
    del pools
    gc.collect()  # a pool and its runner know each other
    if device.type == "cuda":
        torch.cuda.empty_cache()
    a_token = sum(bytes_per_token(model.config, model.dtype) for model in models)
    return int(free * _SHARE) // a_token


def _free_on(device: torch.device) -> int:
    torch.cuda.synchronize(device)
    return torch.cuda.mem_get_info(device)[0]
