"""Rotation with the KV write, norms and SwiGLU give what torch gives."""

import pytest
import torch
import torch.nn.functional as F

from backends.llm.model.torch_model.rotary import rotate

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
CLOSE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("head_dim", [64, 80, 8])
def test_queries_turn_in_place_and_keys_and_values_go_to_their_slots(
    head_dim: int, dtype: torch.dtype, device: torch.device
) -> None:
    from backends.llm.model.cuda.row_kernels import rotate_and_store

    torch.manual_seed(0)
    num_heads, num_kv_heads, slots = 4, 2, [9, 0, 5]
    heads = torch.randn(3, num_heads + 2 * num_kv_heads, head_dim, device=device).to(dtype)
    angles = torch.rand(3, head_dim // 2, device=device) * 6
    both = torch.cat((angles, angles), -1)[:, None]
    turned = rotate(heads[:, : num_heads + num_kv_heads], both.cos(), both.sin())
    values = heads[:, num_heads + num_kv_heads :].clone()
    kv = torch.zeros(2, 3, 4, num_kv_heads, head_dim, dtype=dtype, device=device)
    at = torch.tensor(slots, dtype=torch.int32, device=device)
    rotate_and_store(heads, angles.cos(), angles.sin(), at, kv, num_heads)
    k, v = kv.flatten(1, 2)  # [P * S, K, D] each
    close = {"rtol": CLOSE[dtype], "atol": CLOSE[dtype]}
    torch.testing.assert_close(heads[:, :num_heads], turned[:, :num_heads], **close)
    torch.testing.assert_close(k[slots], turned[:, num_heads:], **close)
    assert torch.equal(v[slots], values)
    untouched = [slot for slot in range(12) if slot not in slots]
    assert not k[untouched].any()
    assert not v[untouched].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [32, 576, 1000])
def test_a_norm_adds_the_change_first(size: int, dtype: torch.dtype, device: torch.device) -> None:
    from backends.llm.model.cuda.row_kernels import add_norm

    torch.manual_seed(0)
    x, change = (torch.randn(3, size, device=device).to(dtype) for _ in range(2))
    weight = torch.rand(size, device=device).to(dtype)
    expected = x + change
    out = torch.empty_like(x)
    close = {"rtol": CLOSE[dtype], "atol": CLOSE[dtype]}
    add_norm(x, change, weight, 1e-5, out)
    torch.testing.assert_close(x, expected, **close)  # the interpreter cuts bfloat16 off
    summed, wide = x.clone(), x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)
    torch.testing.assert_close(out, (wide * scale).to(dtype) * weight, **close)
    again = torch.empty_like(x)
    add_norm(x, None, weight, 1e-5, again)
    assert torch.equal(x, summed)
    assert torch.equal(again, out)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [48, 1536])
def test_swiglu_is_torchs(size: int, dtype: torch.dtype, device: torch.device) -> None:
    from backends.llm.model.cuda.row_kernels import swiglu

    torch.manual_seed(0)
    gate_up = torch.randn(3, 2 * size, device=device).to(dtype) * 4
    out = torch.empty(3, size, dtype=dtype, device=device)
    swiglu(gate_up, out)
    gate, up = gate_up.chunk(2, dim=-1)
    torch.testing.assert_close(out, F.silu(gate) * up, rtol=CLOSE[dtype], atol=CLOSE[dtype])
