"""Measures an engine through `Engine.execute`: batch and length doubled until it no longer pays.

An engine is measured alone and by its own clock, so that a fake one under the virtual clock gives
back exactly the latencies it was made with.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np

from backends.base import Engine, Kind, Outcome, Request, Result
from backends.documents import Doc, Index
from backends.errors import ConfigError, EngineError
from backends.registry import EngineSpec, create
from runtime.clock import now
from runtime.cost.curves import Curve, Row, Surface
from runtime.cost.latency import MEASURES, LatencyModel
from runtime.cost.profile_store import Profile, key_of, make_profile

BUDGET_S = 20.0  # for one engine, without loading it
PROFILED_KINDS: tuple[Kind, ...] = ("llm", "embedder", "reranker", "store")

_RUNS = 5  # of one point; the fastest counts, for whatever else the machine does only adds
_POINT_SHARE = 0.03  # of the budget for the runs of one point, beyond the second
_LENGTHS = (100, 200, 400, 800, 1600, 3200)  # characters
_MAX_PREFILL = 2048
_CONTEXTS = (64, 256, 1024)
_DECODED = 8
_STORED = (256, 1024, 4096)
_DIMENSIONS = 384
_MAX_QUERIES = 16
_WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world")


@dataclass(frozen=True, slots=True)
class Measured:
    """One point, as it is told to whoever waits."""

    op: str
    size: int
    length: int
    seconds: float


Tell: TypeAlias = "Callable[[Measured], None]"
_Run: TypeAlias = "Callable[[], Sequence[Request]]"  # makes the requests of one batch, each anew


async def profile_spec(
    spec: EngineSpec, budget_s: float = BUDGET_S, tell: Tell = lambda _: None
) -> Profile:
    """Make the engine, measure it, close it. Raises ConfigError for what cannot be measured."""
    with _harmless(spec) as harmless:
        engine = create(harmless)
        await engine.start()
        try:
            began_s = now()
            model = await profile_engine(engine, budget_s, tell)
            return make_profile(key_of(spec), model, now() - began_s)
        finally:
            await engine.close()


async def profile_engine(
    engine: Engine, budget_s: float = BUDGET_S, tell: Tell = lambda _: None
) -> LatencyModel:
    """The latencies of a started engine that nobody else uses. Raises EngineError."""
    kind = engine.info.kind
    if kind not in PROFILED_KINDS:
        raise ConfigError(f"{kind} engines are not profiled; {', '.join(PROFILED_KINDS)} are")
    bench = _Bench(engine, budget_s, tell)
    match kind:
        case "embedder":
            return LatencyModel({"embed": await bench.items("embed", _embed)})
        case "reranker":
            return LatencyModel({"rerank": await bench.items("rerank", _rerank)})
        case "store":
            return await _profile_store(bench)
    return await _profile_llm(bench)


class _Bench:
    """Runs batches, watches the time, keeps points."""

    def __init__(self, engine: Engine, budget_s: float, tell: Tell) -> None:
        self.engine = engine
        self.began_s = now()
        self.budget_s = budget_s
        self._tell = tell

    def begin(self) -> None:
        """What was done so far does not count."""
        self.began_s = now()

    def until(self, share: float) -> float:
        """When this share of the budget will be spent."""
        return self.began_s + share * self.budget_s

    async def once(self, requests: Sequence[Request]) -> tuple[float, list[Result]]:
        """The seconds of one batch and what came of it."""
        began_s = now()
        outcomes: Sequence[Outcome] = await self.engine.execute(requests)
        took_s = now() - began_s
        results = []
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise EngineError(f"profiling {requests[0].op} failed: {outcome}") from outcome
            results.append(outcome)
        return took_s, results

    async def items(self, op: str, make: Callable[[int, int], Request]) -> Surface:
        """An op whose batch is so many items of one length; the typical length goes first."""
        typical = int(MEASURES[op][2])
        lengths = sorted(_LENGTHS, key=lambda length: (length != typical, length))
        await self.once([make(1, typical)])  # what is set up at the first use is no latency
        self.begin()
        rows = []
        for number, length in enumerate(lengths, start=1):
            rest = max(0.0, self.until(1.0) - now()) / (len(lengths) - number + 2)
            until_s = self.until(0.4) if number == 1 else now() + 2 * rest
            sizes = _doubling(1, self.engine.info.max_batch_items)
            curve = await self.sweep(op, length, sizes, until_s, _batch_of(make, length))
            rows += [Row(float(length), curve)] if curve is not None else []
        return _surface(rows)

    async def sweep(
        self,
        op: str,
        length: int,
        sizes: Sequence[int],
        until_s: float,
        measure: Callable[[_Bench, int], AsyncIterator[tuple[float, float]]],
        is_batch: bool = True,
    ) -> Curve | None:
        """Seconds over size, until time is up or two doublings of a batch have gained nothing.

        None if there was no time for a single point.
        """
        points: list[tuple[float, float]] = []
        for size in sizes:
            began_s = now()
            if began_s >= until_s and points:
                break
            runs = []
            async for run in measure(self, size):
                runs.append(run)
                spent_s = now() - began_s
                is_enough = len(runs) > 1 and spent_s > _POINT_SHARE * self.budget_s
                if is_enough or len(runs) == _RUNS or now() + spent_s / len(runs) > until_s:
                    break
            if not runs:
                break
            points.append(min(runs, key=lambda run: run[1]))
            self._tell(Measured(op, size, length, points[-1][1]))
            has_peaked = Curve.measured(points).efficient_batch() is not None
            run_s = (now() - began_s) / len(runs)
            if (is_batch and has_peaked) or now() + 2 * run_s > until_s:
                break
        return Curve.measured(points) if points else None


def _batch_of(
    make: Callable[[int, int], Request], length: int
) -> Callable[[_Bench, int], AsyncIterator[tuple[float, float]]]:
    async def measure(bench: _Bench, size: int) -> AsyncIterator[tuple[float, float]]:
        while True:
            took_s, _ = await bench.once([make(size, length)])
            yield size, took_s

    return measure


def _doubling(first: int, most: int) -> list[int]:
    """`first`, twice that, and so on, and the most there may be."""
    sizes = []
    while first < most:
        sizes.append(first)
        first *= 2
    return [*sizes, most]


def _surface(rows: Sequence[Row]) -> Surface:
    return Surface(tuple(sorted(rows, key=lambda row: row.length)))


def _text(num_chars: int) -> str:
    """English words, another text each time, so that no cache has it."""
    words = [uuid4().hex[:6]]
    while sum(map(len, words)) + len(words) < num_chars:
        words.append(random.choice(_WORDS))
    return " ".join(words)[:num_chars]


def _request(op: str, *inputs: Any, num_items: int = 1, **attrs: Any) -> Request:
    return Request(uuid4().hex, op, inputs, attrs, num_items)


def _docs(num_items: int, num_chars: int) -> list[Doc]:
    return [Doc(_text(num_chars), id=uuid4().hex) for _ in range(num_items)]


def _embed(num_items: int, num_chars: int) -> Request:
    return _request("embed", [_text(num_chars) for _ in range(num_items)], num_items=num_items)


def _rerank(num_items: int, num_chars: int) -> Request:
    docs = _docs(num_items, num_chars)
    return _request("rerank", "how many people go to school", docs, num_items=num_items)


# Stores


async def _profile_store(bench: _Bench) -> LatencyModel:
    """Documents of one length with synthetic vectors; searches over more and more of them."""
    length = int(MEASURES["ingest"][2])
    ids: list[str] = []
    collection = ""

    async def ingest(bench: _Bench, size: int) -> AsyncIterator[tuple[float, float]]:
        nonlocal collection
        while True:
            docs = _docs(size, length)
            request = _request("ingest", docs, _vectors(size), num_items=size)
            took_s, (result,) = await bench.once([request])
            index: Index = result.outputs[0]
            collection = index.collection
            ids.extend(index.ids or (doc.id for doc in docs))
            yield size, took_s

    async def search(bench: _Bench, size: int) -> AsyncIterator[tuple[float, float]]:
        index = Index(collection, tuple(ids))
        while True:
            queries = [
                _request("search", index, "school", _vectors(1)[0], k=10, mode="vector")
                for _ in range(size)
            ]
            took_s, _ = await bench.once(queries)
            yield size, took_s

    most = bench.engine.info.max_batch_items
    await _first(ingest(bench, 1))
    curve = await bench.sweep("ingest", length, _doubling(1, most), bench.until(0.3), ingest)
    assert curve is not None, "the first point is always measured"
    rows: list[Row] = []
    for number, num_docs in enumerate(_STORED, start=1):
        while len(ids) < num_docs and (now() < bench.until(0.9) or not rows):
            await _first(ingest(bench, min(most, num_docs - len(ids))))
        until_s = bench.until(0.3 + 0.7 * number / len(_STORED))
        sizes = _doubling(1, min(most, _MAX_QUERIES))
        await _first(search(bench, 1))
        row = await bench.sweep("search", len(ids), sizes, until_s, search)
        if row is not None and not any(len(ids) <= known.length for known in rows):
            rows.append(Row(float(len(ids)), row))
    return LatencyModel({"ingest": Surface.flat(curve), "search": _surface(rows)})


def _vectors(num_rows: int) -> Any:
    rows = np.random.default_rng().standard_normal((num_rows, _DIMENSIONS)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


async def _first(runs: AsyncIterator[tuple[float, float]]) -> None:
    async for _ in runs:
        return


# Language models


async def _profile_llm(bench: _Bench) -> LatencyModel:
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
            sizes = _doubling(8, min(_MAX_PREFILL, (limit - length) // 3))
            until_s = bench.until(0.4 * (number + 1.5) / (num_rows + 0.5))
            run = _prefill(context)
            curve = await bench.sweep("prefill", length, sizes, until_s, run, is_batch=False)
            prefill_rows += [Row(float(length), curve)] if curve is not None else []
        order = sorted(contexts, key=lambda c: abs(c.num_tokens - MEASURES["decode"][2]))
        for number, context in enumerate(order, start=1):
            sizes = _doubling(1, min(32, bench.engine.info.num_slots))
            until_s = bench.until(0.6 + 0.4 * number / len(order))
            curve = await bench.sweep(
                "decode", context.num_tokens, sizes, until_s, _decode(context)
            )
            decode_rows += [Row(float(context.num_tokens), curve)] if curve is not None else []
    return LatencyModel({"prefill": _surface(prefill_rows), "decode": _surface(decode_rows)})


@asynccontextmanager
async def _contexts(bench: _Bench, lengths: Sequence[int]) -> AsyncIterator[list[Any]]:
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


def _prefill(context: Any) -> Callable[[_Bench, int], AsyncIterator[tuple[float, float]]]:
    async def measure(bench: _Bench, size: int) -> AsyncIterator[tuple[float, float]]:
        while True:
            took_s, (result,) = await bench.once([_filling(bench, context, size)])
            result.outputs[0].release()
            yield max(1, result.usage.prefill_tokens), took_s

    return measure


def _decode(context: Any) -> Callable[[_Bench, int], AsyncIterator[tuple[float, float]]]:
    async def measure(bench: _Bench, size: int) -> AsyncIterator[tuple[float, float]]:
        while True:
            requests = [_request("decode", context, max_tokens=_DECODED) for _ in range(size)]
            took_s, results = await bench.once(requests)
            for result in results:
                result.outputs[1].release()
            num_tokens = max(result.usage.decode_tokens for result in results)
            if not num_tokens:
                return  # it stops at once
            yield size, took_s / num_tokens

    return measure


def _filling(bench: _Bench, context: Any, size: int) -> Request:
    """A prefill of so many words, which a server computes though it could stay with the client."""
    if "warm_up" in bench.engine.info.capabilities:
        return _request("prefill", context, _words(size), ahead=True)
    return _request("prefill", context, _words(size))


def _words(count: int) -> str:
    """So many words, of about a token each; another text each time."""
    words = [str(random.randrange(1000)), *random.choices(_WORDS, k=max(0, count - 1))]
    return " ".join(words[:count])


@contextmanager
def _harmless(spec: EngineSpec) -> Iterator[EngineSpec]:
    """The same engine, but a store that keeps what it is given where nobody looks for it."""
    if spec.kind not in PROFILED_KINDS:
        raise ConfigError(f"{spec.kind} engines are not profiled; their times are learnt online")
    if spec.kind != "store" or spec.url in ("local:", "fake:"):
        yield spec
    elif spec.url.startswith("local:"):
        with tempfile.TemporaryDirectory(prefix="teola-profile-") as folder:
            yield replace(spec, url=f"local:{folder}")
    else:
        raise ConfigError(
            f"the store {spec.url!r} is not profiled: synthetic documents would be written to it"
        )
