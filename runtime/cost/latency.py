"""The latency of an engine: measured by `teola profile`, corrected by the times of real runs.

A `LatencyModel` is data: one surface an op. `EngineLatency` adds the correction: for each op an
exponentially weighted ratio of real to predicted seconds of the engine's own batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log

from runtime.cost.curves import Curve, Surface

# What the two sizes of an op's surface count, and which length is typical: it is measured first.
MEASURES: Mapping[str, tuple[str, str, float]] = {
    "embed": ("texts", "characters each", 400),  # between questions and chunks of documents
    "rerank": ("passages", "characters each", 400),
    "ingest": ("documents", "characters each", 800),
    "search": ("queries", "documents in the store", 1024),
    "prefill": ("new tokens", "tokens before them", 0),
    "decode": ("sequences", "tokens before them", 256),  # seconds for one token of each sequence
}

# Without a profile: a small model on a CPU, roughly. Seconds a batch, and seconds for each of it.
DEFAULTS: Mapping[str, Surface] = {
    "embed": Surface.flat(Curve.line(0.005, 0.010)),
    "rerank": Surface.flat(Curve.line(0.005, 0.010)),
    "ingest": Surface.flat(Curve.line(0.001, 0.0001)),
    "search": Surface.flat(Curve.line(0.001, 0.0005)),
    "count": Surface.flat(Curve.line(0.001, 0.0)),
    "delete": Surface.flat(Curve.line(0.001, 0.0)),
    "prefill": Surface.flat(Curve.line(0.020, 0.001)),
    "decode": Surface.flat(Curve.line(0.020, 0.002)),
    "call": Surface.flat(Curve.line(0.0, 0.010)),
}

WEIGHT = 0.2  # of the newest ratio
STEP = log(4)  # the most that one observation can pull, before its weight
PROFILED_BOUND = log(4)  # how far a profile may be off
DEFAULT_BOUND = log(1000)  # how far a default may be off


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """Seconds of an engine's ops on an otherwise idle machine, without loading the engine."""

    ops: Mapping[str, Surface]

    def surface(self, op: str) -> Surface:
        """What was measured, else the default; of a call (`call:name`) that of all calls."""
        kind = op.partition(":")[0]
        return self.ops.get(op) or DEFAULTS.get(kind) or DEFAULTS["call"]

    def seconds(self, op: str, size: float, length: float = 0.0) -> float:
        return self.surface(op).seconds(size, length)

    def efficient_batch(self, op: str) -> int | None:
        """The most items that pay in one batch; None: not known."""
        return self.surface(op).efficient_batch()


NOTHING_MEASURED = LatencyModel({})


@dataclass(frozen=True, slots=True)
class Load:
    """What a batch asked of an engine, in the sizes of its op's surface."""

    op: str
    size: float
    length: float
    times: float = 1.0  # how often: the tokens of a decode


@dataclass(slots=True)
class EngineLatency:
    """One engine's model and what is learnt of it while it runs."""

    model: LatencyModel
    source: str = "default"  # where the numbers come from, for people: "profiled 2026-01-02"
    _ratios: dict[str, float] = field(default_factory=dict)  # op -> log of real over predicted
    _efficient: int | None = field(init=False)  # the largest batch that pays, if it was measured

    def __post_init__(self) -> None:
        batches = [self.model.efficient_batch(op) for op in self.model.ops if op in _BATCHED]
        known = [batch for batch in batches if batch is not None]
        self._efficient = max(known) if known and len(known) == len(batches) else None

    @property
    def is_profiled(self) -> bool:
        return bool(self.model.ops)

    def seconds(self, load: Load) -> float:
        """The model's seconds, corrected."""
        return self._modelled(load) * exp(self._ratios.get(load.op, 0.0))

    def correction(self, op: str) -> float:
        """Real over modelled seconds, as far as runs have shown; 1 before the first."""
        return exp(self._ratios.get(op, 0.0))

    @property
    def corrections(self) -> Mapping[str, float]:
        return {op: exp(ratio) for op, ratio in self._ratios.items()}

    def observe(self, loads: Sequence[Load], seconds: float) -> None:
        """Learn from a batch that had the engine to itself and asked for all these loads.

        One observation moves a ratio by a fifth of what it is off, and counts as at most four
        times off, so that an outlier moves it by a third and steady drift is followed in a few. Of
        several loads each moves by its share of the expected seconds.
        """
        expected = [self.seconds(load) for load in loads]
        expected_s = sum(expected)
        if seconds <= 0 or expected_s <= 0:
            return
        step = max(-STEP, min(STEP, log(seconds / expected_s)))
        for load, own_s in zip(loads, expected, strict=True):
            bound = PROFILED_BOUND if load.op in self.model.ops else DEFAULT_BOUND
            moved = self._ratios.get(load.op, 0.0) + WEIGHT * step * own_s / expected_s
            self._ratios[load.op] = max(-bound, min(bound, moved))

    def batch_items(self, most: int) -> int:
        """The most items that a batch should have: what pays, and never more than `most`."""
        return most if self._efficient is None else min(most, self._efficient)

    def _modelled(self, load: Load) -> float:
        return load.times * self.model.seconds(load.op, load.size, load.length)


_BATCHED = frozenset({"embed", "rerank", "ingest", "search"})  # an LLM makes its own batches
