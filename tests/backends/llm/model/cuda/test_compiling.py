"""Every kernel compiles for real GPUs: Triton needs none for that."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPILE = """
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from backends.llm.model.cuda import decode_attention, extend_attention, row_kernels
from backends.llm.model.cuda.tiling import TILE_ROWS, tiling

KIND, CAPABILITY = {kind!r}, {capability}
DTYPE = dict(bf16=torch.bfloat16, fp16=torch.float16, fp32=torch.float32)[KIND]
FLOAT32 = ("sums", "tops", "totals", "cos", "sin")
VALUES = ("q", "keys", "values", "out", "heads", "x", "change", "weight", "gate_up")
INTS = ("table", "positions", "rows", "table_rows", "num_keys", "tiles", "slots")


def kind_of(name, constants):
    if name in constants:
        return "constexpr"
    if name in ("scale", "eps"):
        return "fp32"
    return next(
        (found for names, found in ((FLOAT32, "*fp32"), (VALUES, "*" + KIND), (INTS, "*i32"))
         if name in names), "i32")


def compiled(kernel, num_warps, num_stages=3, **constants):
    signature = {{name: kind_of(name, constants) for name in kernel.arg_names}}
    places = {{(kernel.arg_names.index(name),): value for name, value in constants.items()}}
    aligned = {{
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(kernel.arg_names)
        if signature[name][0] == "*"
    }}
    options = dict(num_warps=num_warps, num_stages=num_stages)
    target = GPUTarget("cuda", CAPABILITY, 32)
    found = compile(ASTSource(kernel, signature, places, aligned), target=target, options=options)
    assert found.asm["cubin"]
    assert found.metadata.shared <= 96 << 10, (kernel, found.metadata.shared)


sizes = tiling(128, DTYPE)
heads = dict(GROUP=4, KV_HEADS=8, DIM=128, DIM_TILE=sizes.dims, PAGE=16, KEYS=sizes.keys)
splits = dict(HEADS=32, SPLITS=16, SPLIT_KEYS=256)
compiled(decode_attention._attend, 4, sizes.num_stages, GROUP_TILE=16, **heads, **splits)
compiled(decode_attention._reduce, 4, DIM=128, DIM_TILE=sizes.dims, KEYS=sizes.keys, **splits)
compiled(extend_attention._attend, 4, sizes.num_stages, ROWS=sizes.rows,
         PARTS=TILE_ROWS // sizes.rows, **heads)
compiled(
    row_kernels._rotate_and_store, 1,
    HEADS=32, KV_HEADS=8, ALL_HEADS=48, HALF=64, HALF_TILE=64,
)
compiled(row_kernels._add_norm, 8, SIZE=4096, TILE=4096, ADDS=True)
compiled(row_kernels._swiglu, 4, SIZE=14336, TILE=1024)
print("compiled")
"""


@pytest.mark.parametrize(("kind", "capability"), [("bf16", 90), ("fp32", 80)])
def test_all_kernels_compile_and_fit_in_shared_memory(
    kind: str, capability: int, tmp_path: Path
) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: pip install triton (Linux)")
    env = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    script = COMPILE.format(kind=kind, capability=capability)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.stdout.strip() == "compiled", done.stderr[-3000:]
