"""Figures that others published, and what the roofline of emulated engines says to them.

    python benchmarks/published_figures.py

A static batch computes all prompts, 8,192 tokens a step, then decodes in lockstep. A steady load
keeps as many requests as the KV pool holds (at most 2,048); each step decodes all of them and
computes the prompts of those that follow the finished ones.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.emulated.descriptions import device_of, shape_of
from backends.emulated.hardware import Dtype
from backends.emulated.roofline import Roofline, Rows

STEP_TOKENS = 8192
EACH = 16  # decode steps that are computed as one
MOST_REQUESTS = 2048
KV_SHARE = 0.95  # of the memory that the steady figures were taken with

TRT_OLD = "TensorRT-LLM 0.6.1, docs/source/performance.md (first tokens: 0.5)"
TRT_NEW = "TensorRT-LLM 1.0, docs/source/performance/perf-overview.md"
VLLM = "johnmusgrave.com, vLLM throughput-latency sweep on NVIDIA A100 40GB, vLLM 0.23"

Measure = Literal["first token ms", "static tok/s", "steady tok/s", "decode tok/s"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One published number."""

    source: str
    device: str  # as in an emulated engine's URL
    model: str
    dtype: Dtype  # of weights; float8 has its KV in float8 too
    measure: Measure
    prompt: int  # tokens
    output: int
    batch: int
    published: float

    @property
    def name(self) -> str:
        batch = f", batch {self.batch}" if self.batch else ""
        return f"{self.device}/{self.model} {self.dtype} {self.prompt}/{self.output}{batch}"

    def predicted(self) -> float:
        device, count = device_of(self.device)
        kv: Dtype = "float8" if self.dtype == "float8" else "bfloat16"
        roofline = Roofline(device, shape_of(self.model, "llm"), self.dtype, kv, count)
        match self.measure:
            case "first token ms":
                return 1e3 * roofline.step_s([Rows(self.prompt, self.prompt)], 1)
            case "static tok/s":
                return static(roofline, self.batch, self.prompt, self.output)
            case "steady tok/s":
                return steady(roofline, self.prompt, self.output)
        return 1 / roofline.step_s([Rows(1, self.prompt + self.output // 2)], 1)

    @property
    def ratio(self) -> float:
        return self.predicted() / self.published


def static(roofline: Roofline, batch: int, prompt: int, output: int) -> float:
    """Output tokens a second of one batch."""
    together = max(1, STEP_TOKENS // prompt)
    seconds = 0.0
    for first in range(0, batch, together):
        count = min(together, batch - first)
        seconds += roofline.step_s([Rows(prompt, prompt)] * count, count)
    for place in range(0, output, EACH):
        seconds += EACH * roofline.step_s([Rows(1, prompt + place + EACH // 2)] * batch, batch)
    return batch * output / seconds


def steady(roofline: Roofline, prompt: int, output: int) -> float:
    """Output tokens a second of a server that is always full."""
    room = roofline.device.memory_bytes * roofline.num_devices * KV_SHARE
    room -= roofline.shape.weight_bytes(roofline.dtype)
    most = room / roofline.shape.kv_bytes(roofline.kv_dtype) / (prompt + output)
    running = int(min(MOST_REQUESTS, most))
    decodes = [Rows(1, prompt + output // 2)] * running
    num_steps = min(output, 256)
    seconds = 0.0
    for step in range(num_steps):  # whole prompts come in, evenly over the steps
        before, after = (running * at // output for at in (step, step + 1))
        seconds += roofline.step_s([*decodes, *[Rows(prompt, prompt)] * (after - before)], running)
    return num_steps * running / seconds


# device, model, dtype, first tokens of 2,048 in ms
FIRST_TOKENS: tuple[tuple[str, str, Dtype, float], ...] = (
    ("a100", "llama-2-7b", "float16", 133),
    ("a100x4", "llama-2-70b", "float16", 377),
    ("l40s", "llama-2-7b", "float8", 73),
    ("h100", "llama-2-7b", "float8", 36),
)
# device, dtype, then prompt, output, batch and output tokens a second of LLaMA 7B
BATCHES: tuple[tuple[str, Dtype, tuple[tuple[int, int, int, float], ...]], ...] = (
    ("a100", "float16", ((128, 128, 384, 5586), (128, 2048, 60, 1928), (2048, 128, 52, 591))),
    (
        *("l40s", "float8"),
        (
            *((128, 128, 64, 3240), (128, 2048, 64, 1622)),
            *((2048, 128, 32, 581), (2048, 2048, 16, 531)),
        ),
    ),
    (
        *("h100", "float8"),
        (
            *((128, 128, 768, 19694), (128, 2048, 112, 6818)),
            *((2048, 128, 80, 2244), (2048, 2048, 48, 2740)),
        ),
    ),
)
# device, model, then prompt, output and output tokens a second under full load, float8
LOADS: tuple[tuple[str, str, tuple[tuple[int, int, float], ...]], ...] = (
    (
        *("h100", "llama-3.1-8b"),
        (
            *((128, 128, 28312), (128, 2048, 22714), (1000, 1000, 15220), (2048, 128, 3450)),
            *((2048, 2048, 9305), (5000, 500, 3459), (20000, 2000, 1351)),
        ),
    ),
    (
        *("h200", "llama-3.1-8b"),
        (
            *((128, 128, 27911), (128, 2048, 26221), (1000, 1000, 17744), (2048, 128, 3538)),
            *((2048, 2048, 12194), (5000, 500, 3902), (20000, 2000, 1804)),
        ),
    ),
    (
        *("h200", "llama-3.1-70b"),
        (
            *((128, 2048, 4336), (1000, 1000, 2909), (2048, 128, 442)),
            *((2048, 2048, 2003), (5000, 500, 566)),
        ),
    ),
    (
        *("h100x2", "llama-3.1-70b"),
        (
            *((128, 2048, 6651), (1000, 1000, 4205), (2048, 128, 762)),
            *((2048, 2048, 3082), (5000, 500, 898)),
        ),
    ),
)

FIGURES = (
    Figure(VLLM, "a100-40gb", "llama-3.1-8b", "bfloat16", "decode tok/s", 1024, 128, 1, 75),
    *(
        Figure(TRT_OLD, device, model, dtype, "first token ms", 2048, 1, 1, ms)
        for device, model, dtype, ms in FIRST_TOKENS
    ),
    *(
        Figure(TRT_OLD, device, "llama-2-7b", dtype, "static tok/s", prompt, output, batch, rate)
        for device, dtype, rows in BATCHES
        for prompt, output, batch, rate in rows
    ),
    *(
        Figure(TRT_NEW, device, model, "float8", "steady tok/s", prompt, output, 0, rate)
        for device, model, loaded in LOADS
        for prompt, output, rate in loaded
    ),
)


def main() -> None:
    print(f"{'figure':58} {'measure':>15} {'published':>10} {'ours':>10} {'ratio':>6}")
    for figure in FIGURES:
        print(
            f"{figure.name:58} {figure.measure:>15} {figure.published:10.0f} "
            f"{figure.predicted():10.0f} {figure.ratio:6.2f}"
        )


if __name__ == "__main__":
    main()
