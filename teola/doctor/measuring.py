"""The default model for a few seconds: tokens per second of a prompt and of a decode."""

import time
from dataclasses import dataclass
from typing import Any

MODEL = "smollm2-135m"
_PROMPT = "The quick brown fox jumps over the lazy dog. " * 50
_DECODED = 64


@dataclass(frozen=True, slots=True)
class Speed:
    model: str
    runs_on: str  # NativeModel on an instruction set, or torch
    dtype: str
    load_s: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float  # of one sequence


def measure() -> Speed:
    """Raises EngineUnavailable without the model."""
    from backends.llm.loader import load_core
    from backends.llm.options import LLMOptions
    from backends.models.fetch import locate

    begin = time.perf_counter()
    core = load_core(locate(MODEL), LLMOptions.model_validate({}))
    load_s = time.perf_counter() - begin
    _run(core, "warm up", max_tokens=4)
    seconds, prompt_tokens = _run(core, _PROMPT, max_tokens=1)
    both, _ = _run(core, _PROMPT, max_tokens=1 + _DECODED)  # its prompt is cached
    again, _ = _run(core, _PROMPT, max_tokens=1)
    runs_on = type(core.model).__name__
    dtype = str(core.model.dtype).removeprefix("torch.")
    decode_s = both - again
    return Speed(MODEL, runs_on, dtype, load_s, prompt_tokens / seconds, _DECODED / decode_s)


def _run(core: Any, prompt: str, max_tokens: int) -> tuple[float, int]:
    """Seconds, and the tokens of the prompt that were computed."""
    from backends.base import Request

    begin = time.perf_counter()
    attrs = {"max_tokens": max_tokens, "ignore_eos": True}
    core.add(Request("0" * 32, "decode", (None, prompt), attrs))
    outcomes: list[Any] = []
    while core.has_work:
        outcomes += [outcome for _, outcome in core.step()]
    (outcome,) = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return time.perf_counter() - begin, outcome.usage.prefill_tokens
