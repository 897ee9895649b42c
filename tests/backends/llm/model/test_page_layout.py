"""The numbers of a page, from the bytes of each kind of pool."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from backends.llm.model.batch import batch_of
from backends.llm.model.page_layout import PageLayout
from backends.llm.model.torch_model.kv_pool import KVPool

IDS = [5 * i % 250 for i in range(64)]


def page_of(model: Any, page_size: int = 32) -> tuple[PageLayout, np.ndarray]:
    """The second page of a prompt."""
    kv = model.make_pool(4, page_size)
    batch = batch_of(page_size, (IDS[: 2 * page_size], 0, [3, 1]))
    model.launch(batch, kv).collect()
    return kv.page_layout, kv.export_pages([1])[0].numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_pages_hold_the_numbers_of_the_torch_model(
    load_tiny: Callable[..., Any], isa: str, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setenv("TEOLA_ISA", isa)
    loaded = load_tiny("llama", head_dim=16)
    layout, row = page_of(loaded.moved(kernels="native", dtype=dtype).model)
    other, expected = page_of(loaded.moved(kernels="torch", dtype=torch.float32).model)
    assert layout.shape == other.shape == (32, 2, 2, 2, 16)
    assert len(row) == layout.num_bytes
    found, wanted = layout.values(row), other.values(expected)
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()
    assert (layout.row(found) == row).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_numbers_become_the_nearest_that_torch_has(tiny: Any, dtype: torch.dtype) -> None:
    pool = KVPool(tiny.model.config, 1, 16, dtype, torch.device("cpu"))
    layout = pool.page_layout
    values = torch.randn(layout.shape) * torch.logspace(-3, 3, 16)[:, None, None, None, None]
    row = layout.row(values.numpy())
    pool.import_pages([0], torch.from_numpy(row)[None])
    nearest = values.to(dtype)
    assert torch.equal(pool._pages[:, :, 0], nearest.permute(1, 2, 0, 3, 4))
    assert torch.equal(torch.from_numpy(layout.values(row)), nearest.float())
