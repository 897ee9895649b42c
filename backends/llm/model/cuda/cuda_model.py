"""The model of a CUDA device, as the core sees it.

Adapters run in steps of their own kind: their deltas are products in torch, and no graph is used.
"""

import torch
import triton
from torch import Tensor

from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import StepBatch
from backends.llm.model.config import ModelConfig
from backends.llm.model.cuda.kv_pool import CudaKVPool
from backends.llm.model.cuda.runner import CudaStep, Runner, StepLimits
from backends.llm.model.torch_model.llama import LlamaModel


class CudaPool(CudaKVPool):
    """KV memory, with what runs the steps that write to it."""

    def __init__(self, net: LlamaModel, num_pages: int, page_size: int, limits: StepLimits) -> None:
        super().__init__(net.config, num_pages, page_size, net.dtype, net.device)
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

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        """What an adapter takes in memory."""
        return adapter.num_bytes

    @torch.inference_mode()
    def launch(self, batch: StepBatch, kv: CudaPool) -> CudaStep:
        """Queue a step on the device."""
        return kv.runner.launch(batch)
