"""Which rows an adapter touches, and that it touches no others."""

from dataclasses import replace

import torch

from backends.llm.lora.adapter import Delta, LayerDeltas, LoadedAdapter
from backends.llm.lora.segments import add_deltas, plan_adapters
from backends.llm.model.batch import StepBatch, batch_of

CPU = torch.device("cpu")


def make(seed: int) -> LoadedAdapter:
    torch.manual_seed(seed)
    return LoadedAdapter((LayerDeltas(out=Delta(torch.randn(2, 4), torch.randn(6, 2))),), str(seed))


def batch(*spans: tuple[int, LoadedAdapter | None]) -> StepBatch:
    """Spans of so many rows, each with its adapter."""
    laid_out = batch_of(16, *(([0] * num_rows, 0, [0]) for num_rows, _ in spans))
    adapters = tuple(dict.fromkeys(adapter for _, adapter in spans if adapter is not None))
    owned = [
        span._replace(adapter=-1 if adapter is None else adapters.index(adapter))
        for span, (_, adapter) in zip(laid_out.spans, spans, strict=True)
    ]
    return replace(laid_out, spans=owned, adapters=adapters)


def test_spans_of_one_adapter_that_lie_together_are_a_slice_and_others_an_index() -> None:
    a, b = make(0), make(1)
    first, second = plan_adapters(batch((3, a), (1, a), (2, b), (1, None), (2, b)), CPU)
    assert (first.adapter, first.rows) == (a, slice(0, 4))
    assert second.adapter is b
    assert isinstance(second.rows, torch.Tensor)
    assert second.rows.tolist() == [4, 5, 7, 8]


def test_each_row_gets_its_own_delta_and_base_rows_not_a_bit() -> None:
    a, b = make(0), make(1)
    segments = plan_adapters(batch((2, a), (2, None), (1, b), (1, a)), CPU)
    x, base = torch.randn(6, 4), torch.randn(6, 6)
    y = add_deltas(base.clone(), x, segments, 0, "out")
    assert torch.equal(y[2:4], base[2:4])
    for adapter, rows in ((a, [0, 1, 5]), (b, [4])):
        delta = adapter.layers[0].out
        assert delta is not None
        assert torch.allclose(y[rows], base[rows] + x[rows] @ delta.a.T @ delta.b.T, atol=1e-6)


def test_a_projection_without_a_delta_stays_as_it_is() -> None:
    segments = plan_adapters(batch((3, make(0))), CPU)
    y = torch.randn(3, 6)
    assert torch.equal(add_deltas(y.clone(), torch.randn(3, 4), segments, 0, "qkv"), y)


def test_a_batch_without_adapters_plans_nothing() -> None:
    assert plan_adapters(batch((3, None)), CPU) == ()
