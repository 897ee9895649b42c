"""A device file fitted to measured steps."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest

from backends.emulated.between_steps import NUM_DECODED as NUM_BETWEEN
from backends.emulated.between_steps import REQUESTS, gaps_between_steps, typical_gap_s
from backends.emulated.descriptions import device_of, shape_of
from backends.emulated.fit import fit
from backends.emulated.hardware import Device
from backends.emulated.measure import (
    BATCHES,
    NUM_DECODED,
    PROMPTS,
    Measured,
    Stepper,
    as_toml,
    calibration,
    typical,
)
from backends.emulated.roofline import Roofline, Rows
from backends.fake.paged_model import PagedModel
from benchmarks.replay import VirtualClock, virtual_core

SHAPE = shape_of("smollm2-135m", "llm")
MACHINE = Device(
    peak_flops={"bfloat16": 1e11},
    bandwidth_bytes_s=1e12,
    memory_bytes=8e9,
    efficiency={1: 0.1, 8: 0.3, 64: 0.8, 512: 0.9},
    attention_efficiency=0.2,
    step_overhead_s=0.002,
    layer_overhead_s=0.0,
    row_overhead_s=0.0003,
)


def a_step(machine: Roofline, spans: list[Rows], num_logits: int, noise: float = 0.0) -> Measured:
    return Measured(tuple(spans), num_logits, machine.step_s(spans, num_logits) * (1 + noise))


def steps_of(machine: Roofline, noises: np.ndarray | None = None) -> list[Measured]:
    """Those of the calibration, without an engine."""
    shapes = [([Rows(min(length, 512), length)], int(length <= 512)) for length in PROMPTS]
    for batch, context in BATCHES:
        shapes += [([Rows(1, context + i)] * batch, batch) for i in range(1, NUM_DECODED)]
        shapes.append(([Rows(context, context)] * min(batch, 512 // context), batch))
    found = noises if noises is not None else np.zeros(len(shapes))
    return [
        a_step(machine, spans, num_logits, float(noise))
        for (spans, num_logits), noise in zip(shapes, found, strict=False)
    ]


def worst_error(ours: Roofline, theirs: Roofline) -> float:
    unseen = [
        ([Rows(1, 300)] * 6, 6),
        ([Rows(1, 60)] * 24, 24),
        ([Rows(100, 100)], 1),
        ([Rows(400, 900)], 0),
        ([Rows(1, 50)] * 5 + [Rows(200, 200)], 6),
    ]
    ratios = [ours.step_s(spans, n) / theirs.step_s(spans, n) for spans, n in unseen]
    return max(abs(ratio - 1) for ratio in ratios)


def test_the_fit_finds_a_machine_again() -> None:
    machine = Roofline(MACHINE, SHAPE)
    fitted = Roofline(fit(steps_of(machine), SHAPE, 8e9, "here"), SHAPE)
    assert worst_error(fitted, machine) < 0.03


def test_steps_that_were_disturbed_matter_little() -> None:
    machine = Roofline(MACHINE, SHAPE)
    noises = np.random.default_rng(0).normal(0, 0.02, 200)
    noises[::9] += 1.5
    fitted = Roofline(fit(steps_of(machine, noises), SHAPE, 8e9, "here"), SHAPE)
    assert worst_error(fitted, machine) < 0.1


def test_all_steps_together_take_the_measured_time() -> None:
    machine = Roofline(MACHINE, SHAPE)
    noises = np.zeros(200)
    noises[::4] = 0.4  # what a median does not see
    steps = steps_of(machine, noises)
    fitted = Roofline(fit(steps, SHAPE, 8e9, "here"), SHAPE)
    ours = sum(fitted.step_s(step.spans, step.num_logits) for step in steps)
    assert ours == pytest.approx(sum(step.seconds for step in steps), rel=0.01)


def test_a_fitted_device_is_written_and_read(tmp_path: Path) -> None:
    device = fit(steps_of(Roofline(MACHINE, SHAPE)), SHAPE, 8e9, "here", between_steps_s=9e-5)
    path = tmp_path / "mine.toml"
    path.write_text(as_toml(device))
    read, _ = device_of(str(path))
    assert (read.source, read.between_steps_s) == ("here", 9e-5)
    spans = [Rows(1, 100)] * 4
    assert Roofline(read, SHAPE).step_s(spans, 4) == pytest.approx(
        Roofline(device, SHAPE).step_s(spans, 4), rel=1e-4
    )


def test_the_median_step_of_each_shape_counts() -> None:
    spans = (Rows(1, 5),)
    steps = [Measured(spans, 1, seconds) for seconds in (3.0, 1.0, 2.0)]
    other = Measured(spans, 0, 9.0)
    assert typical([*steps, other]) == [steps[2], other]
    assert typical([*steps, other], least=2) == [steps[2]]


def test_attention_of_decodes_has_its_own_efficiency() -> None:
    slow_decodes = MACHINE.model_copy(update={"decode_attention_efficiency": 0.02})
    machine = Roofline(slow_decodes, SHAPE)
    fitted = Roofline(fit(steps_of(machine), SHAPE, 8e9, "here"), SHAPE)
    assert worst_error(fitted, machine) < 0.03
    as_prompts = Roofline(MACHINE, SHAPE)
    decodes, prompt = [Rows(1, 900)] * 4, [Rows(300, 900)]
    assert machine.step_s(prompt, 0) == as_prompts.step_s(prompt, 0)
    assert machine.step_s(decodes, 4) > 1.1 * as_prompts.step_s(decodes, 4)


def test_the_steps_of_an_engine_are_watched() -> None:
    clock = VirtualClock()
    core = virtual_core(PagedModel(), clock, lambda _: 0.0, token_budget=512, max_running=32)
    steps = list(Stepper(core).run([600, 20], 3))
    assert [[tuple(span) for span in step.spans] for step in steps] == [
        [(512, 512)],
        [(88, 600), (20, 20)],
        [(1, 601), (1, 21)],
        [(1, 602), (1, 22)],
    ]
    assert [step.num_logits for step in steps] == [0, 2, 2, 2]
    assert all(step.seconds > 0 for step in steps)


def test_the_calibration_has_steps_of_all_sizes() -> None:
    core = virtual_core(PagedModel(), VirtualClock(), lambda _: 0.0)
    steps = calibration(Stepper(core))
    decodes = {len(step.spans) for step in steps if step.num_tokens == step.num_logits}
    assert {1, 2, 4, 8, 16, 32} <= decodes
    assert {16, 64, 512} <= {step.num_tokens for step in steps}


def test_the_seconds_between_the_steps_of_an_engine_are_timed_while_work_waits() -> None:
    core, ticks = virtual_core(PagedModel(), VirtualClock(), lambda _: 0.0), count()
    gaps = gaps_between_steps(core, lambda: float(next(ticks)))
    assert len(gaps) >= REQUESTS * (NUM_BETWEEN - 1)
    assert set(gaps) == {1.0}  # one reading at the end of a step, one at the begin of the next
    core.check_integrity()
    assert list(Stepper(core).run([20], 3))  # the engine is closed, the core is not


def test_a_gap_that_something_else_made_longer_does_not_count() -> None:
    assert typical_gap_s([1.0, 2.0, 3.0, 50.0]) == 2.0
    assert typical_gap_s([]) == 0.0
