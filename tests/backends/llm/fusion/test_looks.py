"""Steps that find something out: attention that is watched, and steps that end at a layer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from backends.base import Result
from backends.llm.model.batch import Watch, batch_of

KERNELS = [("torch", torch.float32), ("native", torch.float32), ("native", torch.bfloat16)]
IDS = list(range(40, 90))
PAGES = [3, 1, 7, 5]


@pytest.fixture(params=KERNELS, ids=["torch", "native", "native-bf16"])
def model(request: pytest.FixtureRequest, load_tiny: Callable[..., Any]) -> Any:
    kernels, dtype = request.param
    return load_tiny(head_dim=16).moved(kernels=kernels, dtype=dtype).model


def masses(model: Any, *watches: Watch, stop: int | None = None) -> tuple[Any, ...]:
    kv = model.make_pool(32, 16)
    model.launch(batch_of(16, (IDS[:30], 0, PAGES)), kv).collect()
    batch = batch_of(16, (IDS[30:], 30, PAGES))
    batch.watches, batch.stop_layer = watches, stop
    if stop is not None:
        batch.wanted = batch.with_logits = np.empty(0, np.int64)
    return tuple(model.launch(batch, kv).collect().masses)


def test_weights_of_a_row_add_up_to_one_for_each_head_and_layer(model: Any) -> None:
    layers, heads = model.config.num_layers, model.config.num_heads
    one, all_rows = masses(model, Watch(0, 19, 20, 0, layers), Watch(0, 0, 20, 0, 1))
    assert one.sum() == pytest.approx(layers * heads, rel=2e-5)
    assert all_rows.sum() == pytest.approx(20 * heads, rel=2e-5)
    assert (one[:50] > 0).all()


def test_rows_see_nothing_behind_them(model: Any) -> None:
    (mass,) = masses(model, Watch(0, 0, 3, 0, 1))
    assert (mass[33:] == 0).all()
    assert (mass[:33] > 0).all()


def test_all_kernels_find_the_same(model: Any, load_tiny: Callable[..., Any]) -> None:
    plain = load_tiny(head_dim=16).moved(kernels="torch", dtype=torch.float32).model
    watches = Watch(0, 4, 20, 0, 2), Watch(0, 0, 1, 1, 2)
    error = 0.05 if "bfloat16" in str(model.dtype) else 1e-4
    for found, right in zip(masses(model, *watches), masses(plain, *watches), strict=True):
        np.testing.assert_allclose(found, right, rtol=error, atol=error * right.max())


def test_a_look_ends_at_its_layer_and_finds_what_a_whole_step_does(model: Any) -> None:
    watch = Watch(0, 4, 20, 0, 2)
    for a, b in zip(masses(model, watch, stop=1), masses(model, watch), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_that_ends_early_writes_the_layers_before_and_no_other(model: Any) -> None:
    whole, early = model.make_pool(32, 16), model.make_pool(32, 16)
    batch = batch_of(16, (IDS, 0, PAGES))
    model.launch(batch, whole).collect()
    batch.stop_layer = 0
    batch.wanted = batch.with_logits = np.empty(0, np.int64)
    model.launch(batch, early).collect()
    for a, b in zip(
        model.read(whole, 0, PAGES, 5, 40), model.read(early, 0, PAGES, 5, 40), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert all((x == 0).all() for x in model.read(early, 1, PAGES, 0, 50))
    assert any((x != 0).any() for x in model.read(whole, 1, PAGES, 0, 50))


def test_a_look_waits_for_a_step_of_its_own_and_then_comes_first(
    load_tiny: Callable[..., Any], fused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a decode that is always ready."""
    driver = load_tiny(head_dim=16).driver(stops=False)
    core = driver.core
    long = driver.prefill(None, "A long story. ")
    driver.submit("decode", long, max_tokens=200, ignore_eos=True)
    core.step()
    steps: list[tuple[int | None, int]] = []
    launch = core.model.launch

    def noted(batch: Any, kv: Any) -> Any:
        steps.append((batch.stop_layer, len(batch.spans)))
        return launch(batch, kv)

    monkeypatch.setattr(core.model, "launch", noted)
    outcome = fused(driver).prefill("query(0.3)", "Read. ", ["One thing.", "Another."], " Which?")
    assert isinstance(outcome, Result)
    assert outcome.fusion is not None
    assert outcome.fusion.rows[0] >= outcome.fusion.rows[-1]
    looks = [i for i, (stop, _) in enumerate(steps) if stop is not None]
    assert [steps[i] for i in looks] == [(model_layers(core) - 1, 1)]
    assert core.live.groups, "the decode goes on"
    assert sum(num_spans for _, num_spans in steps) > len(steps), "beside the decode"


def model_layers(core: Any) -> int:
    return int(core.model.config.num_layers)
