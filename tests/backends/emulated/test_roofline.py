"""The seconds of a step, by hand."""

import pytest

from backends.emulated.descriptions import device_of, shape_of
from backends.emulated.hardware import Device, Shape
from backends.emulated.roofline import Roofline, Rows

# Numbers that are easy to compute with: P = 2 * 10 * 10 * 2 * 2 / 2 ... see `expected`.
SHAPE = Shape(
    layers=2, hidden=10, intermediate=20, heads=2, kv_heads=1, head_dim=5, vocab=50, max_tokens=100
)
P = 2 * (2 * 10 * 5 * (2 + 1) + 3 * 10 * 20)


def a_device(**changes: float) -> Device:
    plain = {
        "efficiency": 1.0,
        "attention_efficiency": 1.0,
        "bandwidth_efficiency": 1.0,
        "step_overhead_s": 0.0,
        "layer_overhead_s": 0.0,
        "row_overhead_s": 0.0,
    }
    fields = {"bandwidth_bytes_s": 1e30, "memory_bytes": 1e9, **plain, **changes}
    flops = fields.pop("flops", 1e30)
    return Device.model_validate({**fields, "peak_flops": {"bfloat16": flops}})


def test_linear_layers_take_two_flops_a_parameter_and_token() -> None:
    roofline = Roofline(a_device(flops=1.0), SHAPE)
    attention = 4 * 2 * 2 * 5 * (1 + 2 + 3)
    assert roofline.step_s([Rows(3, 3)], 0) == pytest.approx(2 * P * 3 + attention)


def test_a_decode_attends_to_all_of_its_sequence() -> None:
    roofline = Roofline(a_device(flops=1.0), SHAPE)
    one, other = roofline.step_s([Rows(1, 40)], 0), roofline.step_s([Rows(1, 41)], 0)
    assert other - one == pytest.approx(4 * 2 * 2 * 5)


def test_weights_are_read_once_a_step_and_keys_once_a_sequence() -> None:
    roofline = Roofline(a_device(bandwidth_bytes_s=1.0), SHAPE)
    kv = 2 * 2 * 1 * 5 * 2
    assert roofline.step_s([Rows(1, 40)] * 3, 0) == pytest.approx(P * 2 + 4 * 3 * 10 + 3 * 40 * kv)


def test_the_last_layer_counts_only_where_logits_are_wanted() -> None:
    roofline = Roofline(a_device(flops=1.0), SHAPE)
    without = roofline.step_s([Rows(4, 4)], 0)
    assert roofline.step_s([Rows(4, 4)], 1) - without == pytest.approx(2 * 10 * 50)


def test_weights_of_fewer_bits_are_read_faster() -> None:
    device, _ = device_of("h100")
    shape = shape_of("llama-3.1-8b", "llm")
    halved = Roofline(device, shape, "float8").step_s([Rows(1, 100)], 1)
    assert 0.5 < halved / Roofline(device, shape).step_s([Rows(1, 100)], 1) < 0.6


def test_attention_computes_in_the_format_of_keys_and_values() -> None:
    device = Device.model_validate(
        {**a_device().model_dump(), "peak_flops": {"bfloat16": 1.0, "float8": 2.0}}
    )
    attention = 4 * 2 * 2 * 5 * 6
    weights_alone = Roofline(device, SHAPE, "float8").step_s([Rows(3, 3)], 0)
    assert weights_alone == pytest.approx(2 * P * 3 / 2 + attention)
    both = Roofline(device, SHAPE, "float8", "float8").step_s([Rows(3, 3)], 0)
    assert both == pytest.approx(2 * P * 3 / 2 + attention / 2)


def test_each_token_of_an_encoder_attends_to_the_whole_text() -> None:
    encoder = SHAPE.model_copy(update={"kind": "embedder"})
    roofline = Roofline(a_device(flops=1.0), encoder)
    linear, attention = 2 * encoder.layer_params * 5, 4 * 2 * 2 * 5 * (2 * 2 + 3 * 3)
    assert roofline.encode_s([2, 3]) == pytest.approx(linear + attention)


def test_overheads_add_up() -> None:
    device = a_device(step_overhead_s=1.0, layer_overhead_s=0.1, row_overhead_s=0.01)
    assert Roofline(device, SHAPE).step_s([Rows(1, 1)] * 3, 3) == pytest.approx(1.23)


def test_several_devices_share_the_work_and_pay_for_the_exchange() -> None:
    device = a_device(flops=1.0, link_bytes_s=1e30, link_latency_s=7.0)
    alone = Roofline(device, SHAPE).step_s([Rows(3, 3)], 0)
    together = Roofline(device, SHAPE, num_devices=2).step_s([Rows(3, 3)], 0)
    assert together == pytest.approx(alone / 2 + 2 * 2 * 7.0)


def test_an_empty_step_takes_no_time() -> None:
    assert Roofline(a_device(step_overhead_s=1.0), SHAPE).step_s([], 0) == 0.0


def test_the_kv_pool_is_what_the_weights_leave() -> None:
    device, _ = device_of("h100")
    tokens = Roofline(device, shape_of("llama-3.1-8b", "llm")).kv_tokens("it")
    assert tokens == int((0.9 * 80e9 - 8.029995008e9 * 2) / 131072)
