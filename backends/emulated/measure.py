"""Times the steps of the embedded engine on the machine at hand, for `fit`."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from backends.base import Request, Result, Tokens
from backends.emulated.hardware import Device, Shape
from backends.emulated.roofline import Rows
from backends.llm.core import LLMCore
from backends.llm.model.batch import StepBatch
from backends.llm.model.config import ModelConfig
from backends.llm.model.step_model import Launched

PROMPTS = (16, 24, 32, 64, 128, 256, 512, 1024)  # tokens, computed alone
CONTEXTS = (32, 384)  # tokens before decodes
SEQUENCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # that decode together
MOST_TOKENS = 1600  # of all contexts
BATCHES = tuple((n, c) for c in CONTEXTS for n in SEQUENCES if n * c <= MOST_TOKENS)
NUM_DECODED = 8
REPEATS = 5

_KEYS_ALIKE = 64  # tokens


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
    """Steps of all sizes, in some rounds: machines drift."""
    steps: list[Measured] = []
    for number in range(REPEATS):
        tell(f"round {number + 1} of {REPEATS}")
        steps += calibration_round(stepper)
    return steps


def calibration_round(stepper: Stepper) -> list[Measured]:
    """Each prompt twice, each batch once; some seconds."""
    list(stepper.run([256], 2))  # what is set up at the first use is no measurement
    steps = [step for length in PROMPTS * 2 for step in stepper.run([length], 1)]
    for batch, context in BATCHES:
        steps += stepper.run([context] * batch, NUM_DECODED)
    return steps


def typical(steps: Iterable[Measured], least: int = 1) -> list[Measured]:
    """The median of each shape of which there are at least so many: a step in a run takes that
    long, and not as long as the fastest. Contexts of about the same length are alike."""
    found: dict[Any, list[Measured]] = {}
    for step in steps:
        alike = (Rows(rows, keys // _KEYS_ALIKE) for rows, keys in step.spans)
        found.setdefault((tuple(alike), step.num_logits), []).append(step)
    return [_median(alike) for alike in found.values() if len(alike) >= least]


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


def with_sizes_of(core: LLMCore, device: Device) -> Device:
    """The device with the sizes of the engine that was measured: engines on it have the same."""
    sizes = {
        "token_budget": core.planner.token_budget,
        "max_running": core.planner.max_running,
        "kv_tokens": core.cache.pool.num_tokens,
    }
    return device.model_copy(update=sizes)


def as_toml(device: Device) -> str:
    """A device file."""
    plain = device.model_dump(exclude_none=True)
    tables = {name: value for name, value in plain.items() if isinstance(value, dict)}
    lines = [f"{name} = {_number(v)}" for name, v in plain.items() if name not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_number(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _median(steps: Sequence[Measured]) -> Measured:
    return sorted(steps, key=lambda step: step.seconds)[(len(steps) - 1) // 2]


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


def _release(finished: Iterable[tuple[Request, Any]]) -> None:
    for _, outcome in finished:
        if not isinstance(outcome, Result):
            raise outcome
        outcome.outputs[1].release()


def _number(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    return f'"{value}"' if isinstance(value, str) else f"{value:.6g}"
