"""The Triton kernels run compiled where there is a GPU, else in Triton's interpreter.

Triton reads TRITON_INTERPRET when it is imported, and other tests may have imported it: without a
GPU these tests run in a process of their own (`test_cuda_interpreted.py`), or by hand:
`TRITON_INTERPRET=1 pytest tests/backends/llm/model/cuda`.
"""

import importlib.util
import os
from typing import Any

import pytest
import torch

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def triton_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("the CUDA kernels are written in Triton: pip install triton (Linux)")
    if not torch.cuda.is_available():
        _mend_bfloat16_products(monkeypatch)


def _mend_bfloat16_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter multiplies the bits of bfloat16 as integers."""
    import triton.language as tl
    from triton.runtime import interpreter

    plain = interpreter.InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return plain(self, _widened(self, a, tl), _widened(self, b, tl), *rest)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


def _widened(builder: Any, x: Any, tl: Any) -> Any:
    return builder.create_fp_ext(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
