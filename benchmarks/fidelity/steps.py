"""Step times: those of the embedded engine beside what the fitted roofline says of them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backends.emulated.fit import fit
from backends.emulated.hardware import Device, Shape
from backends.emulated.measure import (
    Measured,
    Stepper,
    calibration_round,
    shape_of_model,
    typical,
)
from backends.emulated.roofline import Roofline
from backends.llm.loader import load_core
from backends.llm.options import LLMOptions
from backends.models.fetch import resolve

MEMORY_BYTES = 8e9
ROUNDS = 5
LEAST = 4  # steps of a shape: the median of fewer is noise
ALIKE = ((3, 100), (5, 60), (7, 100), (10, 60), (14, 60), (20, 60), (28, 40), (5, 300))
ALONE = (48, 100, 200, 400, 800)  # tokens
MIXED = ((40, 200, 700), (300, 24, 24, 24, 90), (16,) * 10 + (500,))
NUM_DECODED = 8


@dataclass(frozen=True, slots=True)
class Profiled:
    """The fitted device, and the steps that the fit has seen and has not seen."""

    device: Device
    shape: Shape
    seen: Sequence[Measured]
    unseen: Sequence[Measured]

    @property
    def roofline(self) -> Roofline:
        return Roofline(self.device, self.shape)


def profile(model: str, dtype: str, tell: Callable[[str], None]) -> Profiled:
    """A minute or two. What the fit sees and what it does not run in turn, for machines drift."""
    core = load_core(resolve(model), LLMOptions.model_validate({"dtype": dtype}))
    shape, stepper, draw = shape_of_model(core.model.config), Stepper(core), random.Random(0)
    steps, others = list[Measured](), list[Measured]()
    for number in range(ROUNDS):
        tell(f"{dtype}, round {number + 1} of {ROUNDS}")
        steps += calibration_round(stepper)
        others += held_out_round(stepper, draw)
    device = fit(steps, shape, MEMORY_BYTES, "this machine")
    return Profiled(device, shape, typical(steps), typical(others, LEAST))


def held_out_round(stepper: Stepper, draw: random.Random) -> list[Measured]:
    """Steps of loads that the calibration has not: other batches, contexts and prompts, and prompts
    computed beside decodes."""
    loads = [((tokens,) * count, NUM_DECODED) for count, tokens in ALIKE]
    loads += [((tokens,), 1) for tokens in ALONE]
    loads += [(prompts, NUM_DECODED) for prompts in MIXED]
    draw.shuffle(loads)
    return [step for load in loads for step in stepper.run(*load)]


def kind_of(step: Measured) -> str:
    if step.num_tokens == step.num_logits:
        return "decode"
    return "prefill" if step.num_logits <= 1 and len(step.spans) == 1 else "mixed"


def errors(roofline: Roofline, steps: Sequence[Measured]) -> dict[str, float]:
    """Mean absolute and 95th percentile relative error, and the ratio of all seconds together."""
    ours = np.array([roofline.step_s(step.spans, step.num_logits) for step in steps])
    theirs = np.array([step.seconds for step in steps])
    relative = np.abs(ours / theirs - 1)
    return {
        "steps": len(steps),
        "mape": round(float(relative.mean()), 4),
        "p95": round(float(np.percentile(relative, 95)), 4),
        "duration_ratio": round(float(ours.sum() / theirs.sum()), 4),
    }


def rows_of(profiled: Profiled) -> dict[str, dict[str, float]]:
    """The errors of all, and of each kind of step that the fit has not seen."""
    roofline, unseen = profiled.roofline, profiled.unseen
    rows = {"fitted": errors(roofline, profiled.seen), "held out": errors(roofline, unseen)}
    for kind in sorted({kind_of(step) for step in unseen}):
        rows[f"held out, {kind}"] = errors(roofline, [s for s in unseen if kind_of(s) == kind])
    return rows
