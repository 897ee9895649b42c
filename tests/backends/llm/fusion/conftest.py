"""Drivers of fused prompts, and the numerics that they run in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fused_driver import FusedDriver

from backends.native.instruction_sets import isas_here
from backends.native.library import library


@pytest.fixture
def fused() -> Callable[[Any], FusedDriver]:
    return FusedDriver


NATIVE = pytest.mark.skipif(library() is None, reason="no kernels here")
KINDS = [
    ("torch", "float32"),
    ("torch", "bfloat16"),
    *((isa, dtype) for isa in isas_here() for dtype in ("float32", "bfloat16")),
]


@pytest.fixture(params=KINDS, ids="-".join)
def numerics(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How a model computes: in torch, and on every instruction set of this CPU."""
    kernels, dtype = request.param
    if kernels == "torch":
        return {"dtype": getattr(torch, dtype)}
    return {"dtype": getattr(torch, dtype), "kernels": "native", "isa": kernels}


@pytest.fixture
def every(numerics: dict[str, Any], load_tiny: Callable[..., Any]) -> Any:
    """A tiny model on each of them."""
    return load_tiny(head_dim=16).moved(**numerics)


@pytest.fixture(
    params=[
        ("torch", "float32"),
        pytest.param(("native", "float32"), marks=NATIVE),
        pytest.param(("native", "bfloat16"), marks=NATIVE),
    ],
    ids="-".join,
)
def some(request: pytest.FixtureRequest, load_tiny: Callable[..., Any]) -> Any:
    """A tiny model in torch, and on the instruction set that runs here by default."""
    kernels, dtype = request.param
    return load_tiny(head_dim=16).moved(kernels=kernels, dtype=getattr(torch, dtype))
