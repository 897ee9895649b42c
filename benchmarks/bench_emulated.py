"""The emulated engine against the embedded one: how near its steps are on this machine.

    python benchmarks/bench_emulated.py [--model local:smollm2-135m] [--device FILE] [--cpu]

Steps of the embedded engine are timed and the roofline's parameters fitted to them (with --device,
those of a file that `teola device measure` wrote). Then others run that the fit has not seen: other
batches, contexts and prompts, and prompts that are computed beside decodes. Told are the mean
absolute error of their step times, by kind of step, and the ratio of the whole durations. The
fastest of several runs of each shape counts. Run it on an idle machine; on a busy one --cpu, which
counts the process's seconds of CPU, still tells whether the model fits. The last line is one JSON
object.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.emulated.descriptions import device_of
from backends.emulated.measure import (
    Measured,
    Stepper,
    calibration,
    fastest,
    fit,
    shape_of_model,
)
from backends.emulated.roofline import Roofline
from backends.llm.loader import load_core
from backends.llm.options import LLMOptions
from backends.models.fetch import resolve

REPEATS = 4
TARGET = 0.10
ALIKE = ((3, 100), (6, 60), (12, 48), (24, 40), (5, 300))  # sequences, tokens of each prompt
ALONE = (48, 100, 200, 400, 800)
MIXED = ((40, 200, 700), (300, 24, 24, 24, 90), (16,) * 10 + (500,))


def held_out(stepper: Stepper) -> list[Measured]:
    """Steps of other sizes than those of the calibration."""
    steps: list[Measured] = []
    for _ in range(REPEATS):
        for batch, prompt in ALIKE:
            steps += stepper.run([prompt] * batch, 5)
        for prompt in ALONE:
            steps += stepper.run([prompt], 1)
        for prompts in MIXED:
            steps += stepper.run(prompts, 8)
    return fastest(steps)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="local:smollm2-135m")
    parser.add_argument("--device", metavar="FILE")
    parser.add_argument("--cpu", action="store_true", help="count seconds of CPU, not of the wall")
    args = parser.parse_args()
    console = Console()
    core = load_core(resolve(args.model), LLMOptions())
    shape = shape_of_model(core.model.config)
    stepper = Stepper(core, time.process_time if args.cpu else time.perf_counter)
    began_s = time.perf_counter()
    with console.status("measuring") as status:
        seen = calibration(stepper, status.update)
        status.update("steps that the fit has not seen")
        unseen = held_out(stepper)
    device = device_of(args.device)[0] if args.device else fit(seen, shape, 8e9, "this machine")
    roofline = Roofline(device, shape, "bfloat16")
    kinds = sorted({kind_of(step) for step in unseen})
    rows = {"fitted": errors(roofline, seen), "held out": errors(roofline, unseen)}
    for kind in kinds:
        rows[f"held out: {kind}"] = errors(roofline, [s for s in unseen if kind_of(s) == kind])
    table = Table(title=f"step times, {time.perf_counter() - began_s:.0f} s of measuring")
    table.add_column("steps of")
    for name in ("steps", "mape", "p95", "duration_ratio"):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.4g}" for value in row.values()))
    console.print(table)
    is_near = rows["held out"]["mape"] <= TARGET
    console.print(f"target: mape <= {TARGET:g} on held-out steps: {'met' if is_near else 'missed'}")
    print(json.dumps({**rows, "target": TARGET, "met": is_near}))


if __name__ == "__main__":
    main()
