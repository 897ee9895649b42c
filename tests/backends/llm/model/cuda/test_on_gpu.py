"""What only a GPU shows: real captures, no wait in a launch, memory, and long contexts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.llm.loader import load_core
from backends.llm.model.batch import batch_of
from backends.llm.options import LLMOptions

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")


def models(
    load_tiny: Callable[..., Any], dtype: torch.dtype = torch.float32, **sizes: Any
) -> tuple[Any, Any, Any]:
    """In torch, with graphs and without."""
    from backends.llm.model.cuda.cuda_model import CudaModel
    from backends.llm.model.cuda.runner import StepLimits
    from backends.llm.model.torch_model.llama import LlamaModel

    found = load_tiny(**sizes).found
    return (
        LlamaModel(found.config, found.load(dtype, CUDA)),
        CudaModel(found.config, found.load(dtype, CUDA), StepLimits(32, 512)),
        CudaModel(found.config, found.load(dtype, CUDA), StepLimits(32, 512, graphs=False)),
    )


@pytest.mark.parametrize("num_rows", [1, 3, 32])
def test_captured_decodes_give_the_logits_of_those_that_are_not(
    load_tiny: Callable[..., Any], num_rows: int
) -> None:
    prompts = batch_of(16, *((list(range(i, i + 20)), 0, [2 * i, 2 * i + 1]) for i in range(32)))
    decodes = batch_of(16, *(([i], 20, [2 * i, 2 * i + 1]) for i in range(num_rows)))
    outputs = []
    for model in models(load_tiny, head_dim=64):
        pool = model.make_pool(64, 16)
        model.launch(prompts, pool).collect()
        outputs.append(model.launch(decodes, pool).collect())
    plain, graphs, eager = outputs
    assert graphs.tokens.tolist() == eager.tokens.tolist() == plain.tokens.tolist()
    torch.testing.assert_close(graphs.logits, eager.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(graphs.logits, plain.logits, rtol=1e-3, atol=1e-3)


def test_a_row_of_a_batch_is_close_to_the_row_alone(load_tiny: Callable[..., Any]) -> None:
    _, model, _ = models(load_tiny, torch.bfloat16, head_dim=64)
    pool = model.make_pool(64, 16)
    parts = [([*range(i, i + 9)], 0, [i]) for i in range(8)]
    together = model.launch(batch_of(16, *parts), pool).collect().logits.clone()
    for i, part in enumerate(parts):
        alone = model.launch(batch_of(16, part), pool).collect().logits
        torch.testing.assert_close(alone, together[9 * i : 9 * i + 9], rtol=0.05, atol=0.1)


def test_long_contexts_are_those_of_the_torch_model(load_tiny: Callable[..., Any]) -> None:
    sizes = {"max_position_embeddings": 8192, "head_dim": 64}
    ids, pages = [i % 250 for i in range(5000)], [*range(313)]
    outputs = []
    for model in models(load_tiny, **sizes)[:2]:
        pool = model.make_pool(320, 16)
        for first in range(0, 5000, 500):
            batch = batch_of(16, (ids[first : first + 500], first, pages))
            model.launch(batch, pool).collect()
        outputs.append(model.launch(batch_of(16, ([7], 5000, pages)), pool).collect())
    torch.testing.assert_close(outputs[1].logits, outputs[0].logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("graphs", [True, False])
def test_a_launch_waits_for_nothing(load_tiny: Callable[..., Any], graphs: bool) -> None:
    model = models(load_tiny, head_dim=64)[1 if graphs else 2]
    pool = model.make_pool(64, 16)
    prompt = batch_of(16, (list(range(20)), 0, [3, 4]))
    decode = batch_of(16, ([5], 20, [3, 4]))
    for batch in (prompt, decode):
        model.launch(batch, pool).collect()
    torch.cuda.set_sync_debug_mode("error")
    try:
        launched = [model.launch(batch, pool) for batch in (prompt, decode)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(launched[-1].collect().tokens) == 1


def test_the_loader_takes_the_kernels_and_the_memory_that_is_free(
    tiny_folder: Callable[..., Path],
) -> None:
    from backends.llm.model.cuda.cuda_model import CudaModel

    core = load_core(tiny_folder(head_dim=64), LLMOptions(device="cuda"))
    assert isinstance(core.model, CudaModel)
    assert core.cache.pool.num_tokens > 32768


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_keys_linked_on_the_device_are_those_computed_there(
    load_tiny: Callable[..., Any], dtype: torch.dtype
) -> None:
    """On the first layer, where KV depends on token and position alone."""
    _, model, _ = models(load_tiny, dtype, head_dim=64)
    ids, pages, linked = list(range(40, 90)), [3, 1, 7, 5], list(range(8, 24))
    pool, fresh = model.make_pool(40, 16), model.make_pool(40, 16)
    model.launch(batch_of(16, (ids, 0, pages)), pool).collect()
    model.link(pool, pages, 7, linked, 201, 43)
    model.launch(batch_of(16, (ids[7:], 201, linked)), fresh).collect()
    (k, v), (want_k, want_v) = (
        [x[201:244].float() for x in one.read(0, torch.tensor(linked, device=CUDA))]
        for one in (pool, fresh)
    )
    most = 2e-6 if dtype == torch.float32 else 4e-3
    assert (k - want_k).norm() <= most * want_k.norm()
    assert (v - want_v).norm() <= most * want_v.norm()
