"""A device file for the machine at hand: the embedded engine's steps are timed, and the roofline's
parameters fitted to them.

With x(r) the seconds of a FLOP in linear layers of r rows, a step of T tokens in S spans takes

    step + row S + x(T) 2 P T + x(R) 2 d V R + y 4 L H D K        (symbols: see `roofline`)

which is linear in step, row, y and x at each knot: least squares of the relative errors, nothing
below zero. What memory traffic costs is in x, which is a table by rows.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.base import Request, Result, Tokens
from backends.emulated.hardware import Device, Shape
from backends.emulated.roofline import Rows
from backends.llm.core import LLMCore
from backends.llm.model.batch import StepBatch
from backends.llm.model.config import ModelConfig
from backends.llm.model.step_model import Launched

KNOTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)  # rows
PROMPTS = (16, 32, 64, 128, 256, 512, 1024)  # tokens, computed alone
BATCHES = ((1, 32), (2, 32), (4, 32), (8, 32), (16, 32), (32, 32), (1, 512), (4, 384))
NUM_DECODED = 6
REPEATS = 3

_KEYS_ALIKE = 64  # tokens
_NUM_REWEIGHTED = 20
_EXACT = 0.01  # a relative error that counts as none

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """A step that ran."""

    spans: tuple[Rows, ...]
    num_logits: int
    seconds: float

    @property
    def num_tokens(self) -> int:
        return sum(rows for rows, _ in self.spans)


class Stepper:
    """Runs requests of random tokens on a core, one after another step, and times the steps."""

    def __init__(self, core: LLMCore, clock: Callable[[], float] = time.perf_counter) -> None:
        self._core = core
        self._clock = clock
        self._batches: list[StepBatch] = []  # of the step that runs: one, or none
        self._numbers = random.Random(0)
        self._ids = count()
        core.model = _Watched(core.model, self._batches.append)

    def run(self, prompts: Sequence[int], num_decoded: int) -> Iterator[Measured]:
        """The steps of prompts of so many tokens, each with a decode after it."""
        vocab = self._core.model.config.vocab_size
        for length in prompts:
            ids = tuple(self._numbers.randrange(vocab) for _ in range(length))
            attrs = {"max_tokens": num_decoded, "ignore_eos": True}
            self._core.add(Request(f"{next(self._ids):032x}", "decode", (None, Tokens(ids)), attrs))
        while self._core.has_work:
            self._batches.clear()
            began_s = self._clock()
            finished = self._core.step()
            seconds = self._clock() - began_s
            _release(finished)
            for batch in self._batches:
                spans = tuple(Rows(span.num_rows, span.num_keys) for span in batch.spans)
                yield Measured(spans, len(batch.wanted), seconds)


def calibration(stepper: Stepper, tell: Callable[[str], None] = lambda _: None) -> list[Measured]:
    """Steps of all sizes: the fastest of each shape, for whatever else runs only adds."""
    list(stepper.run([256], 2))  # what is set up at the first use is no measurement
    steps: list[Measured] = []
    for number in range(REPEATS):
        for length in PROMPTS:
            steps += stepper.run([length], 1)
        for batch, context in BATCHES:
            tell(f"round {number + 1} of {REPEATS}: {batch} sequences of {context} tokens")
            steps += stepper.run([context] * batch, NUM_DECODED)
    return fastest(steps)


def fastest(steps: Iterable[Measured]) -> list[Measured]:
    """One step of each shape; contexts of about the same length are alike."""
    found: dict[Any, Measured] = {}
    for step in steps:
        alike = (Rows(rows, keys // _KEYS_ALIKE) for rows, keys in step.spans)
        key = (tuple(alike), step.num_logits)
        if key not in found or step.seconds < found[key].seconds:
            found[key] = step
    return list(found.values())


def fit(steps: Sequence[Measured], shape: Shape, memory_bytes: float, source: str) -> Device:
    """The device that explains the steps of a model of `shape`."""
    rows = np.array([_terms(step, shape) for step in steps])  # [N, 3 + knots]
    seconds = np.array([step.seconds for step in steps])
    found = _robust(rows / seconds[:, None])
    step_s, row_s, attention_s, *flop_s = found.tolist()
    slowest = max(flop_s)
    known = {knot: s or slowest for knot, s in zip(KNOTS, flop_s, strict=True)}
    peak = 1.05 / min(known.values())
    # Traffic is in the table; this bandwidth is what one row's weights were read with, at least.
    one_row_s = known[1] * 2 * shape.layer_params
    return Device(
        source=source,
        peak_flops={"bfloat16": peak, "float32": peak},
        bandwidth_bytes_s=8 * shape.layer_params / one_row_s,
        memory_bytes=memory_bytes,
        efficiency={knot: 1 / (s * peak) for knot, s in known.items()},
        attention_efficiency=min(1.0, 1 / (attention_s * peak)) if attention_s else 1.0,
        bandwidth_efficiency=1.0,
        step_overhead_s=step_s,
        layer_overhead_s=0.0,
        row_overhead_s=row_s,
    )


def shape_of_model(config: ModelConfig) -> Shape:
    """What a loaded model is."""
    return Shape(
        layers=config.num_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        vocab=config.vocab_size,
        max_tokens=config.max_positions,
        tied_embeddings=config.tied_embeddings,
    )


def as_toml(device: Device) -> str:
    """A device file."""
    plain = device.model_dump()
    tables = {name: value for name, value in plain.items() if isinstance(value, dict)}
    lines = [f"{name} = {_number(v)}" for name, v in plain.items() if name not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_number(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


class _Watched:
    """A model that tells what it is given."""

    def __init__(self, model: Any, watch: Callable[[StepBatch], None]) -> None:
        self._model = model
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def launch(self, batch: StepBatch, kv: Any) -> Launched:
        self._watch(batch)
        launched: Launched = self._model.launch(batch, kv)
        return launched


def _terms(step: Measured, shape: Shape) -> list[float]:
    """What the coefficients of a step's seconds are multiplied with."""
    attended = sum(rows * (keys - (rows - 1) / 2) for rows, keys in step.spans)
    attention = 4.0 * shape.layers * shape.heads * shape.head_size * attended
    linear = _shares(step.num_tokens) * (2.0 * shape.layer_params * step.num_tokens)
    linear += _shares(step.num_logits) * (2.0 * shape.head_params * step.num_logits)
    return [1.0, len(step.spans), attention, *linear.tolist()]


def _shares(num_rows: int) -> Matrix:
    """How much of each knot is in so many rows, as `Device.efficiency_at` has it."""
    found = [np.interp(num_rows, KNOTS, np.eye(len(KNOTS))[i]) for i in range(len(KNOTS))]
    return np.array(found)


def _robust(rows: Matrix) -> Matrix:
    """Coefficients by which each row sums to 1, as nearly as can be: absolute errors count, so that
    steps which something else disturbed matter little (iteratively reweighted least squares)."""
    weights = np.ones(len(rows))
    for _ in range(_NUM_REWEIGHTED):
        found = _not_negative(rows * weights[:, None], weights)
        weights = 1 / np.sqrt(np.maximum(np.abs(rows @ found - 1), _EXACT))
    return found


def _not_negative(rows: Matrix, wanted: Matrix) -> Matrix:
    """Least squares; what would come out negative is left out, the most negative first."""
    scale = np.abs(rows).max(axis=0)
    used = [i for i in range(rows.shape[1]) if scale[i] > 0]
    while True:
        found, *_ = np.linalg.lstsq(rows[:, used] / scale[used], wanted, rcond=None)
        if (found >= 0).all():
            result = np.zeros(rows.shape[1])
            result[used] = found / scale[used]
            return result
        used.pop(int(found.argmin()))


def _release(finished: Iterable[tuple[Request, Any]]) -> None:
    for _, outcome in finished:
        if not isinstance(outcome, Result):
            raise outcome
        outcome.outputs[1].release()


def _number(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:.6g}"
