"""The KV memory of the CUDA model: the torch model's, with one page more."""

import torch
from torch import Tensor

from backends.llm.model.config import ModelConfig
from backends.llm.model.torch_model.kv_pool import KVPool


class CudaKVPool(KVPool):
    """Rows that only fill a captured graph up write to the page behind the last."""

    def __init__(
        self,
        config: ModelConfig,
        num_pages: int,
        page_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(config, num_pages + 1, page_size, dtype, device)
        self.scratch_page = num_pages

    def layer(self, i: int) -> Tensor:
        """[2, P, S, K, D]."""
        return self._pages[i]
