"""The Python around a decode step: milliseconds by part, with a model that takes no time.

    python benchmarks/bench_step.py [--steps 200]
    chrt -f 1 python benchmarks/bench_step.py        on a machine that others use too

A stub of 49,152 tokens answers at once, so a step's time is the engine's own: plan, build (the
batch's arrays and page lists), sampling, note (service statistics) and take (texts, stop strings,
stops, ends). `greedy` rows get their tokens from the model; `drawn` and `truncated` (top-k, top-p)
rows are sampled from its logits by torch. The lower quartile over the steps; a part's own time is
what a step spends in it. Last line: one JSON object.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from backends.base import Request, Tokens
from backends.fake.paged_model import CONFIG, TokenPool
from backends.llm.core import LLMCore
from backends.llm.lora.adapter import LoadedAdapter
from backends.llm.model.batch import StepBatch, StepOutput
from backends.llm.model.step_model import Done
from backends.llm.options import LLMOptions
from benchmarks.soak_engine import byte_prompts

VOCAB = 49_152
BATCHES = (1, 8, 32)
PROMPT = 200
MODES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "drawn": {"temperature": 0.8, "seed": 1},
    "truncated": {"temperature": 0.8, "seed": 1, "top_k": 50, "top_p": 0.9},
}
PARTS = ("plan", "build", "sampling", "note", "take")


class StubModel:
    """Knows every answer."""

    config = replace(CONFIG, vocab_size=VOCAB)
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self) -> None:
        letters = torch.arange(VOCAB) < 97  # bytes that are whole characters
        self._logits = torch.randn(64, VOCAB).masked_fill_(~letters, -50.0)  # [R, V]
        self._tokens = self._logits.argmax(dim=-1).numpy()

    def make_pool(self, num_pages: int, page_size: int) -> TokenPool:
        return TokenPool(num_pages, page_size)

    def adapter_bytes(self, adapter: LoadedAdapter) -> int:
        return adapter.num_bytes

    def launch(self, batch: StepBatch, kv: TokenPool) -> Done:  # noqa: ARG002
        num_logits = len(batch.with_logits)
        logits = self._logits[:num_logits] if num_logits else None
        return Done(StepOutput(self._tokens[: len(batch.wanted)], logits))


class Stopwatch:
    """Seconds spent in calls, by name."""

    def __init__(self) -> None:
        self.spent_s = dict.fromkeys(PARTS, 0.0)

    def around(self, owner: Any, method: str, part: str) -> None:
        """Count a method's time from now on."""
        call: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any) -> Any:
            began_s = time.perf_counter()
            try:
                return call(*args)
            finally:
                self.spent_s[part] += time.perf_counter() - began_s

        setattr(owner, method, timed)


def measure(batch: int, num_steps: int, attrs: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of a step of so many decodes, whole and by part."""
    core, watch = _core(batch, num_steps, attrs), Stopwatch()
    while core.planner.waiting or any(s.num_to_prefill for s in core.planner.running):
        core.step()
    steps_s = [_timed(core.step) for _ in range(num_steps)]  # whole steps, nothing wrapped
    watch.around(core.planner, "plan", "plan")
    watch.around(core.planner, "note", "note")
    watch.around(core._batches, "build", "build")
    watch.around(core, "_sampler", "sampling")
    parts_s: list[dict[str, float]] = []
    for _ in range(num_steps):
        watch.spent_s = dict.fromkeys(PARTS, 0.0)
        whole_s = _timed(core.step)
        watch.spent_s["take"] = whole_s - sum(watch.spent_s.values())
        parts_s.append(watch.spent_s)
    found = {part: _quartile_ms([spent[part] for spent in parts_s]) for part in PARTS}
    return {"step": _quartile_ms(steps_s), **found}


def _core(batch: int, num_steps: int, attrs: dict[str, Any]) -> LLMCore:
    core = LLMCore(StubModel(), byte_prompts(), LLMOptions(max_running=batch), 1 << 16)
    wanted = {"max_tokens": 2 * num_steps + 40, "ignore_eos": True, **attrs}
    for number in range(batch):
        prompt = Tokens(tuple([65 + number % 20] * PROMPT))
        request = Request(f"{number:032x}", "decode", (None, prompt), wanted, emit=len)
        core.add(request)
    return core


def _timed(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def _quartile_ms(seconds: list[float]) -> float:
    return round(1e3 * statistics.quantiles(seconds, n=4)[0], 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", choices=list(MODES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, dict[str, float]] = {}
    print(f"{'ms a step':<16}" + "".join(f"{name:>10}" for name in ("step", *PARTS)))
    for mode, attrs in MODES.items():
        for batch in BATCHES if args.only in (mode, None) else ():
            found = measure(batch, args.steps, attrs)
            rows[f"{mode} {batch}"] = found
            print(
                f"{mode + ' ' + str(batch):<16}" + "".join(f"{ms:>10.3f}" for ms in found.values())
            )
    print(json.dumps({"vocab": VOCAB, "ms": rows}))


if __name__ == "__main__":
    main()
