"""One embedded engine, asked one prompt after another; and what it finds likely behind them."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from backends.base import Part, Request, Result
from backends.llm.core import LLMCore
from backends.llm.engine import LLMEngine
from backends.llm.model.batch import batch_of


class Probe:
    """Of an engine that has started, and that nobody else asks."""

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine

    async def prefill(self, prompt: Sequence[Part], fusion: str | None) -> Result:
        """By a plan; None: exactly. Raises EngineError."""
        return await self._run("prefill", (None, *prompt), {"fusion": fusion} if fusion else {})

    async def continuation(self, context: Any, num_tokens: int) -> list[int]:
        """The likeliest tokens behind a context."""
        attrs = {"max_tokens": num_tokens, "ignore_eos": True}
        result = await self._run("decode", (context,), attrs)
        after = result.outputs[1]
        ids = list(after.ids[context.num_tokens :])
        after.release()
        return ids

    async def logprobs(self, context: Any, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
        """[N + 1, V]: after the context, and after each of the tokens that follow it."""
        logits = await self._engine.between_steps(lambda core: _logits(core, context, tokens))
        shifted = logits - logits.max(-1, keepdims=True)
        found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        return found

    def flush(self) -> None:
        """Forget all KV, that the next prompt finds nothing of this one."""
        self._engine.flush_cache()

    async def _run(self, op: str, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Result:
        (outcome,) = await self._engine.execute([Request(uuid4().hex, op, inputs, attrs)])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _logits(core: Any, context: Any, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
    assert isinstance(core, LLMCore), "of an embedded engine"
    cache, ids = core.cache, [context.ids[-1], *tokens]
    table = cache.fork(context.table)
    assert table.num_computed == len(context.ids) - 1, "the context lost its KV"
    assert cache.reserve(table, table.num_computed + len(ids)), "the pool is full"
    batch = batch_of(cache.pool.page_size, (ids, table.num_computed, table.pages))
    logits = core.model.launch(batch, core.kv).collect().logits
    assert logits is not None, "asked for of all rows"
    cache.drop(table)
    return np.asarray(logits, np.float64)
