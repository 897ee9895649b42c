"""Which rows an adapter touches, and that it touches no others."""

import torch

from backends.llm.lora.segments import add_deltas, plan_adapters
from backends.llm.lora.weights import Delta, LayerDeltas, LoadedAdapter
from backends.llm.model.batch import Span

CPU = torch.device("cpu")


def make(seed: int) -> LoadedAdapter:
    torch.manual_seed(seed)
    return LoadedAdapter((LayerDeltas(out=Delta(torch.randn(2, 4), torch.randn(6, 2))),), str(seed))


def span(start: int, end: int, adapter: LoadedAdapter | None) -> Span:
    return Span(start, end, end - start, [], adapter)


def test_spans_of_one_adapter_that_lie_together_are_a_slice_and_others_an_index() -> None:
    a, b = make(0), make(1)
    spans = [span(0, 3, a), span(3, 4, a), span(4, 6, b), span(6, 7, None), span(7, 9, b)]
    first, second = plan_adapters(spans, CPU)
    assert (first.adapter, first.rows) == (a, slice(0, 4))
    assert second.adapter is b
    assert isinstance(second.rows, torch.Tensor)
    assert second.rows.tolist() == [4, 5, 7, 8]


def test_each_row_gets_its_own_delta_and_base_rows_not_a_bit() -> None:
    a, b = make(0), make(1)
    spans = [span(0, 2, a), span(2, 4, None), span(4, 5, b), span(5, 6, a)]
    x, base = torch.randn(6, 4), torch.randn(6, 6)
    y = add_deltas(base.clone(), x, plan_adapters(spans, CPU), 0, "out")
    assert torch.equal(y[2:4], base[2:4])
    for adapter, rows in ((a, [0, 1, 5]), (b, [4])):
        delta = adapter.layers[0].out
        assert delta is not None
        assert torch.allclose(y[rows], base[rows] + x[rows] @ delta.a.T @ delta.b.T, atol=1e-6)


def test_a_projection_without_a_delta_stays_as_it_is() -> None:
    segments = plan_adapters([span(0, 3, make(0))], CPU)
    y = torch.randn(3, 6)
    assert torch.equal(add_deltas(y.clone(), torch.randn(3, 4), segments, 0, "qkv"), y)


def test_a_batch_without_adapters_plans_nothing() -> None:
    assert plan_adapters([span(0, 3, None)], CPU) == ()
