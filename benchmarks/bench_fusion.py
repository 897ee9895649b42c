"""What KV cache fusion saves and what it loses: MuSiQue questions over 12 passages each.

    python benchmarks/bench_fusion.py [--questions 40] [--passages 12] [--trials 3]

Loss, in float32: mean KL divergence from the exact prompt's next-token distributions to those of
the fused one over the 16 tokens that the exact one writes, R = 1 - KL / KL(reuse) with a bootstrap
interval over questions, and the share of places with the same likeliest token.
Time, in the default dtype: seconds of a prefill and the first token with the chunks' KV in the
pool, all modes in turn, medians; `exact` has the prefix cached. Cost is the share of the prompt's
tokens that are computed. Last line: a JSON list.
"""

import argparse
import asyncio
import gzip
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.base import Chunk, Outcome, Request, Result, Turn
from backends.llm.core import LLMCore
from backends.llm.fusion.fused_prefill import Fuser
from backends.llm.loader import load_core
from backends.llm.model.batch import batch_of
from backends.llm.options import LLMOptions
from backends.models.fetch import locate

DATA = Path(__file__).parent / "data/musique/questions.jsonl.gz"
MODES = (
    None,
    "reuse",
    "lego(4)",
    "lego(16)",
    "random(0.15)",
    "query(0.15)",
    "query(0.3)",
    "blend(0.15)",
    "gradual(0.15)",
)
NUM_NEW = 16
console = Console()


@dataclass
class Figures:
    """Of one mode, an entry a question."""

    kl: list[float] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Prompts:
    """Runs prefills and decodes of one core, one after another."""

    def __init__(self, core: LLMCore) -> None:
        self.core = core
        self._num_requests = 0
        page_size = core.cache.pool.page_size
        self._fuser = Fuser(self._execute, lambda _: None, page_size, lambda: core)

    def prefill(self, case: dict[str, Any], fusion: str | None) -> Result:
        """Of a question behind its passages."""
        passages = [Chunk(f"{text}\n\n") for text in case["passages"]]
        head = (None, Turn("user"), "Answer the question from the passages.\n\n")
        rest = (f"Question: {case['question']}", Turn("assistant"))
        request = self._request("prefill", (*head, *passages, *rest), fusion=fusion)
        if fusion is None:
            return _result(asyncio.run(self._execute(request)))
        return _result(asyncio.run(self._fuser.prefill(request)))

    def decode(self, context: Any, num_new: int) -> Result:
        attrs = {"max_tokens": num_new, "ignore_eos": True}
        return _result(asyncio.run(self._execute(self._request("decode", (context,), **attrs))))

    def logits(self, context: Any, tokens: Sequence[int]) -> torch.Tensor:
        """[N + 1, V]: after the context and after each of the tokens that follow it."""
        cache, ids = self.core.cache, [context.ids[-1], *tokens]
        table = cache.fork(context.table)
        assert table.num_computed == len(context.ids) - 1, "the context lost its KV"
        assert cache.reserve(table, table.num_computed + len(ids)), "the pool is full"
        batch = batch_of(cache.pool.page_size, (ids, table.num_computed, table.pages))
        logits = self.core.model.launch(batch, self.core.kv).collect().logits
        assert logits is not None, "asked for of all rows"
        cache.drop(table)
        return torch.tensor(np.asarray(logits))

    def _request(self, op: str, inputs: tuple[Any, ...], **attrs: Any) -> Request:
        self._num_requests += 1
        given = {name: value for name, value in attrs.items() if value is not None}
        return Request(f"{self._num_requests:032x}", op, inputs, given)

    async def _execute(self, request: Request) -> Outcome:
        self.core.add(request)
        while True:
            for done, outcome in self.core.step():
                if done.id == request.id:
                    return outcome


def _result(outcome: Outcome) -> Result:
    if not isinstance(outcome, Result):
        raise outcome
    return outcome


def lose(prompts: Prompts, case: dict[str, Any], figures: dict[str | None, Figures]) -> None:
    """Measure the loss on one question."""
    exact = torch.empty(0)
    tokens: list[int] = []
    for mode in MODES:
        context = prompts.prefill(case, mode).outputs[0]
        if mode is None:
            tokens = prompts.decode(context, NUM_NEW).outputs[1].ids[context.num_tokens :]
            exact = prompts.logits(context, tokens[:-1]).log_softmax(-1)
        found = prompts.logits(context, tokens[:-1]).log_softmax(-1)
        figures[mode].kl.append(float((exact.exp() * (exact - found)).sum(-1).mean()))
        same = (exact.argmax(-1) == found.argmax(-1)).float().mean()
        figures[mode].same.append(float(same))
        context.release()
        if mode is None:  # else the next would find all of it, exact
            prompts.core.flush()
    prompts.core.flush()


def take_time(
    prompts: Prompts, case: dict[str, Any], figures: dict[str | None, Figures], trials: int
) -> None:
    """Measure the seconds to the first token on one question."""
    prompts.prefill(case, "reuse").outputs[0].release()  # the chunks' KV is in the pool
    for trial in range(trials):
        for mode in MODES if trial % 2 else MODES[::-1]:
            other = {**case, "passages": case["passages"][::-1]}  # in places they never had
            other["question"] += " " * (trial + 1) + str(mode)  # and no prompt of before
            began = time.perf_counter()
            prefill = prompts.prefill(other, mode)
            prompts.decode(prefill.outputs[0], 1)
            figures[mode].seconds.append(time.perf_counter() - began)
            num_tokens = prefill.outputs[0].num_tokens
            prefill.outputs[0].release()
            figures[mode].tokens.append(num_tokens)
            rows = prefill.fusion.rows if prefill.fusion else (prefill.usage.prefill_tokens,)
            figures[mode].cost.append(statistics.mean(rows) / num_tokens)
            if mode is None:  # else the next would find this one's passages behind each other
                prompts.core.flush()
                prompts.prefill(case, "reuse").outputs[0].release()
    prompts.core.flush()


def interval(mode: Figures, reuse: Figures) -> tuple[float, float]:
    """95 % of R, resampling questions."""
    random = np.random.default_rng(0)
    own, base = np.array(mode.kl), np.array(reuse.kl)
    picks = random.integers(0, len(own), (2000, len(own)))
    found = 1 - own[picks].mean(1) / base[picks].mean(1)
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--passages", type=int, default=12)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--timed", type=int, default=4, help="questions whose seconds are taken")
    args = parser.parse_args()
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines][: args.questions]
    for case in cases:
        case["passages"] = case["passages"][: args.passages]
    figures: dict[str | None, Figures] = {mode: Figures() for mode in MODES}
    path = locate("smollm2-135m")
    with console.status("loss") as status:
        prompts = Prompts(load_core(path, LLMOptions(dtype="float32")))
        for i, case in enumerate(cases):
            lose(prompts, case, figures)
            status.update(f"loss: {i + 1} of {len(cases)} questions")
    with console.status("time") as status:
        prompts = Prompts(load_core(path, LLMOptions()))
        for i, case in enumerate(cases[: args.timed]):
            take_time(prompts, case, figures, args.trials)
            status.update(f"time: {i + 1} of {args.timed} questions")
    show(figures)


def show(figures: dict[str | None, Figures]) -> None:
    table = Table(
        "mode", "tokens", "cost", "KL", "R (95 %)", "same likeliest", "TTFT", title="fusion"
    )
    rows = []
    exact_s = statistics.median(figures[None].seconds)
    for mode, own in figures.items():
        kl, reuse = statistics.mean(own.kl), statistics.mean(figures["reuse"].kl)
        low, high = interval(own, figures["reuse"])
        ratio = exact_s / statistics.median(own.seconds)
        row = {
            "mode": mode or "exact",
            "n": round(statistics.mean(own.tokens)),
            "cost": round(statistics.mean(own.cost), 3),
            "kl": round(kl, 4),
            "R_kl": round(1 - kl / reuse, 3),
            "R_kl_ci": [round(low, 3), round(high, 3)],
            "top1": round(statistics.mean(own.same), 3),
            "ttft_s": round(statistics.median(own.seconds), 4),
            "ttft_ratio": round(ratio, 2),
        }
        rows.append(row)
        table.add_row(
            row["mode"],
            str(row["n"]),
            f"{row['cost']:.3f}",
            f"{kl:.4f}",
            f"{row['R_kl']:.2f} ({low:.2f} to {high:.2f})",
            f"{row['top1']:.3f}",
            f"{row['ttft_s'] * 1e3:.0f} ms, {ratio:.1f}x",
        )
    console.print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
