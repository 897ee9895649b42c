"""A core that runs fused prefills one after another."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from backends.base import Chunk, Outcome, Request, Result
from backends.llm.fusion.fused_prefill import Fuser
from backends.native.instruction_sets import isas_here

Fused = Callable[..., Result]


class FusedDriver:
    """Over a driver of a core."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.num_prefills = 0
        self.on_last: Callable[[], None] = lambda: None  # before the step that reads the chunks
        page_size = driver.core.cache.pool.page_size
        self._fuser = Fuser(self._execute, self._abort, page_size, lambda: driver.core)

    def prefill(
        self, fusion: str, prefix: Any, chunks: Sequence[str], rest: str, **attrs: Any
    ) -> Outcome:
        """Of a prefix (a text, or a context), chunks and what follows them."""
        self.num_prefills += 1
        before = (None, prefix) if isinstance(prefix, str) else (prefix,)
        inputs = (*before, *map(Chunk, chunks), rest)
        attrs = {"fusion": fusion, **attrs}
        request = Request(f"{self.num_prefills:031x}f", "prefill", inputs, attrs)
        return asyncio.run(self._fuser.prefill(request))

    async def _execute(self, request: Request) -> Outcome:
        if "." not in request.id:
            self.on_last()
        self.driver.core.add(request)
        (outcome,) = self.driver.run(request.id)
        return outcome

    def _abort(self, request_id: str) -> None:
        self.driver.core.abort(request_id)


@pytest.fixture
def fused() -> Callable[[Any], FusedDriver]:
    return FusedDriver


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
