"""How much KV fits beside weights, graphs and the activations of the largest step."""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch

from backends.llm.model.config import bytes_per_token
from backends.llm.model.cuda.cuda_model import CudaPool
from backends.llm.model.step_model import StepModel

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
