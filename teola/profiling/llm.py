"""Measures a language model: prefills and decodes, on longer and longer contexts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from backends.base import Request
from backends.errors import ConfigError
from runtime.cost.curves import Row
from runtime.cost.latency import MEASURES, LatencyModel
from teola.profiling.bench import Bench, Measure, Run, doubling, surface
from teola.profiling.inputs import request_of, words

_MAX_PREFILL = 2048
_CONTEXTS = (64, 256, 1024)
_DECODED = 8


async def profile_llm(bench: Bench) -> LatencyModel:
    """Prefills of more and more tokens, decodes of more and more sequences, on longer contexts."""
    missing = {"prefill", "fork"} - bench.engine.info.capabilities
    if missing:
        raise ConfigError(
            f"{bench.engine.info.model} cannot be profiled: it lacks {', '.join(sorted(missing))}"
        )
    limit = bench.engine.info.max_context_tokens or 4 * _MAX_PREFILL
    lengths = [length for length in _CONTEXTS if length + 2 * _DECODED < limit]
    async with _contexts(bench, lengths) as contexts:
        bench.begin()
        prefill_rows, decode_rows = [], []
        num_rows = len(contexts) + 1
        for number, context in enumerate([None, *contexts[1:]]):
            length = context.num_tokens if context is not None else 0
            sizes = doubling(8, min(_MAX_PREFILL, (limit - length) // 3))
            until_s = bench.until(0.4 * (number + 1.5) / (num_rows + 0.5))
            run = _prefill(context)
            curve = await bench.sweep("prefill", length, sizes, until_s, run, is_batch=False)
            prefill_rows += [Row(float(length), curve)] if curve is not None else []
        order = sorted(contexts, key=lambda c: abs(c.num_tokens - MEASURES["decode"][2]))
        for number, context in enumerate(order, start=1):
            sizes = doubling(1, min(32, bench.engine.info.num_slots))
            until_s = bench.until(0.6 + 0.4 * number / len(order))
            curve = await bench.sweep(
                "decode", context.num_tokens, sizes, until_s, _decode(context)
            )
            decode_rows += [Row(float(context.num_tokens), curve)] if curve is not None else []
    return LatencyModel({"prefill": surface(prefill_rows), "decode": surface(decode_rows)})


@asynccontextmanager
async def _contexts(bench: Bench, lengths: Sequence[int]) -> AsyncIterator[list[Any]]:
    """Contexts of about so many tokens."""
    made: list[Any] = []
    try:
        for length in lengths:
            _, (result,) = await bench.once([_filling(bench, None, length)])
            made.append(result.outputs[0])
        yield made
    finally:
        for context in made:
            context.release()


def _prefill(context: Any) -> Measure:
    async def measure(bench: Bench, size: int) -> AsyncIterator[Run]:
        while True:
            took_s, (result,) = await bench.once([_filling(bench, context, size)])
            result.outputs[0].release()
            yield max(1, result.usage.prefill_tokens), took_s

    return measure


def _decode(context: Any) -> Measure:
    async def measure(bench: Bench, size: int) -> AsyncIterator[Run]:
        while True:
            requests = [request_of("decode", context, max_tokens=_DECODED) for _ in range(size)]
            took_s, results = await bench.once(requests)
            for result in results:
                result.outputs[1].release()
            num_tokens = max(result.usage.decode_tokens for result in results)
            if not num_tokens:
                return  # it stops at once
            yield size, took_s / num_tokens

    return measure


def _filling(bench: Bench, context: Any, size: int) -> Request:
    """A prefill of so many words, which a server computes though it could stay with the client."""
    if "warm_up" in bench.engine.info.capabilities:
        return request_of("prefill", context, words(size), ahead=True)
    return request_of("prefill", context, words(size))
